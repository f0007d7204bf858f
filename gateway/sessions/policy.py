"""The rules of rotation as numbers: what the operator sets, in the domain's own shape."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class OnReuse(StrEnum):
    """How far a theft reaches. See docs/rotation.md for the one exception."""

    REVOKE_USER = "revoke_user"
    REVOKE_SESSION = "revoke_session"


class BindingMode(StrEnum):
    """What a binding that does not hold means."""

    OFF = "off"
    ALERT = "alert"
    ENFORCE = "enforce"


@dataclass(frozen=True, slots=True)
class RotationPolicy:
    """Everything `decide` takes from the configuration. Durations in seconds.

    `in_flight_window` is W, `late_window` S, `receipt_after` R of docs/rotation.md. `access_ttl` is the life of an
    access token, `race_access_ttl` that of one issued to the loser of a race. `clock_leeway` is what a verifier allows.
    """

    idle_ttl: float = 24 * 3600.0
    absolute_ttl: float = 30 * 24 * 3600.0
    in_flight_window: float = 20.0
    late_window: float = 180.0
    receipt_after: float = 60.0
    access_ttl: float = 900.0
    race_access_ttl: float = 60.0
    clock_leeway: float = 30.0
    on_reuse: OnReuse = OnReuse.REVOKE_USER
    device_binding: BindingMode = BindingMode.ENFORCE
    ip_binding: BindingMode = BindingMode.ALERT
    reauth_after: float | None = None
    max_per_user: int = 50
