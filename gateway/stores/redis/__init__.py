"""The Redis client and what is built on it. Only `client` and `errors` import the driver: it is optional."""
