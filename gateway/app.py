"""The composition root: the one file that knows every layer."""
