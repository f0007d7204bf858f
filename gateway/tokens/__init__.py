"""Signing keys, access tokens, refresh tokens and JWKS. The only package that imports jwt."""
