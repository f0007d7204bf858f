"""Logs, the access log and the table of security events."""
