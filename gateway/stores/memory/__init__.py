"""In-memory store: the oracle the other stores are compared with."""
