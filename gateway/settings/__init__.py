"""Configuration: model, loading with precedence, checks across sections, secrets."""
