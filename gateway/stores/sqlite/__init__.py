"""SQLite: one writer with group commit, durable at every acknowledged step."""
