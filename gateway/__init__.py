"""An auth gateway: an aiohttp reverse proxy that owns log-in, sessions and token rotation for existing backends."""
