"""Whether a known caller may use a route: roles, and how the caller logged in."""

from __future__ import annotations

from typing import Final

from gateway.errors import InsufficientScope, InsufficientUserAuthentication, MissingToken
from gateway.proxy.route_table import RouteSpec
from gateway.tokens.claims import AccessClaims

MFA: Final = "mfa"


def authorize(route: RouteSpec, claims: AccessClaims | None) -> None:
    """Raises `InsufficientScope` (403) or `InsufficientUserAuthentication` (401, RFC 9470) where something lacks."""
    if not route.roles and not route.mfa:
        return
    if claims is None:
        raise MissingToken
    if route.roles and route.roles.isdisjoint(claims.roles):
        raise InsufficientScope
    if route.mfa and MFA not in claims.amr:
        raise InsufficientUserAuthentication(acr_values=(MFA,))
