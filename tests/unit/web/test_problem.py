"""Errors as answers."""

from __future__ import annotations

import json

import pytest

from gateway import errors
from gateway.errors import (
    GatewayError,
    InsufficientScope,
    InsufficientUserAuthentication,
    InvalidCredentials,
    InvalidGrant,
    InvalidRequest,
    InvalidToken,
    MethodNotAllowed,
    MissingToken,
    StoreBusy,
    TemporarilyUnavailable,
    TooManyAttempts,
)
from gateway.tokens.access_token import INVALID_DETAIL
from gateway.web.problem import Rendered, detail_of, render

ERRORS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, GatewayError) and kind is not errors.CannotStart
]


def headers_of(rendered: Rendered) -> dict[str, str]:
    return dict(rendered.headers)


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_is_a_problem(kind: type[GatewayError]) -> None:
    rendered = render(kind(), "req-1")
    headers = headers_of(rendered)
    body = json.loads(rendered.body)
    assert rendered.status == kind.status == body["status"]
    assert body["error"] == kind.code
    assert body["type"].endswith(kind.code)
    assert body["title"] == kind.title
    assert body["request_id"] == headers["X-Request-Id"] == "req-1"
    assert len(body["detail"]) > 10
    assert headers["Content-Type"] == "application/problem+json"
    assert headers["Cache-Control"] == "no-store"
    assert ("WWW-Authenticate" in headers) == (kind.status == 401 or kind is InsufficientScope)


def test_debug_text_is_not_shown() -> None:
    rendered = render(InvalidToken(debug="key 7 is gone"), "r")
    assert b"key 7" not in rendered.body
    assert "key 7" not in str(rendered.headers)


def test_detail_of_the_raise_site_wins_and_unknown_codes_speak_with_their_title() -> None:
    class Odd(GatewayError):
        code = "odd"
        title = "Odd thing"

    assert detail_of(InvalidRequest("No.")) == "No."
    assert detail_of(Odd()) == "Odd thing"


def test_missing_token_challenges_without_an_error_code() -> None:
    assert headers_of(render(MissingToken(), "r"))["WWW-Authenticate"] == 'Bearer realm="gateway"'


@pytest.mark.parametrize("error", [InvalidGrant(), InvalidCredentials()])
def test_refusals_that_are_not_about_an_access_token_challenge_plainly(error: GatewayError) -> None:
    assert headers_of(render(error, "r"))["WWW-Authenticate"] == 'Bearer realm="gateway"'


def test_a_revoked_token_is_answered_like_one_that_was_never_ours() -> None:
    revoked, forged = InvalidToken(debug="session_revoked"), InvalidToken(INVALID_DETAIL, debug="wrong signature")
    assert render(revoked, "r1") == render(forged, "r1")


def test_invalid_token_challenge() -> None:
    challenge = headers_of(render(InvalidToken("It is over."), "r"))["WWW-Authenticate"]
    assert challenge == 'Bearer realm="gateway", error="invalid_token", error_description="It is over."'


@pytest.mark.parametrize("detail", ['say "x"', "back\\slash", "naïve", "line\nbreak"])
def test_a_detail_that_cannot_be_quoted_stays_out_of_the_challenge(detail: str) -> None:
    challenge = headers_of(render(InvalidToken(detail), "r"))["WWW-Authenticate"]
    assert challenge == 'Bearer realm="gateway", error="invalid_token"'


def test_step_up_challenge_says_what_is_needed() -> None:
    error = InsufficientUserAuthentication(max_age=3600, acr_values=("mfa", "phr"))
    challenge = headers_of(render(error, "r"))["WWW-Authenticate"]
    assert 'error="insufficient_user_authentication"' in challenge
    assert challenge.endswith('max_age="3600", acr_values="mfa phr"')
    bare = headers_of(render(InsufficientUserAuthentication(), "r"))["WWW-Authenticate"]
    assert "max_age" not in bare
    assert "acr_values" not in bare


def test_insufficient_scope_is_403_with_a_challenge() -> None:
    rendered = render(InsufficientScope(), "r")
    assert rendered.status == 403
    assert 'error="insufficient_scope"' in headers_of(rendered)["WWW-Authenticate"]


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (TemporarilyUnavailable(), "1"),
        (StoreBusy(retry_after=3), "3"),
        (TooManyAttempts(retry_after=42), "42"),
        (TooManyAttempts(), "1"),
        (TooManyAttempts(retry_after=-5), "0"),
    ],
)
def test_retry_after(error: GatewayError, seconds: str) -> None:
    assert headers_of(render(error, "r"))["Retry-After"] == seconds


def test_others_have_no_retry_after() -> None:
    assert "Retry-After" not in headers_of(render(InvalidToken(), "r"))


def test_method_not_allowed_names_the_methods() -> None:
    assert headers_of(render(MethodNotAllowed(("GET", "HEAD")), "r"))["Allow"] == "GET, HEAD"
