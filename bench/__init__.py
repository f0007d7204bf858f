"""Benchmarks: the gateway beside its peers, in one run, in CPU microseconds per request."""
