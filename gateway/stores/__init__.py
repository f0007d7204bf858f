"""Adapters behind the ports: the only package with drivers and SQL."""
