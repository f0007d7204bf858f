"""Processes: listeners, worker, drain."""
