"""Facts about the client behind a request, and what they say about it."""
