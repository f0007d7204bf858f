"""Users and their passwords: hashing, import of foreign hashes, authentication."""
