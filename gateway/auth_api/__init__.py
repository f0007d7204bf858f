"""The gateway's own HTTP API under the reserved prefix."""
