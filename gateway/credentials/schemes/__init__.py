"""Password hash formats: one file per family, `registry.parse_hash` in front."""
