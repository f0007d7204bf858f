"""The heart: sessions, refresh rotation, revocation. No HTTP and no SQL."""
