"""The data plane, in call order: route table, authenticate, authorize, headers, forward, upstream."""
