"""What belongs to one client, or is said by one, never reaches another or the gateway's own words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.api import ApiBench, serving
from support.proxying import CLAIMS, answering, field_of, fields_of, get, proxied, status_of, upstream

from gateway.deployment import lock_timeout
from gateway.settings.loader import load


async def test_a_backends_cookie_for_one_user_is_never_sent_for_another() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: session=of-alice; Path=/\r\n\r\n"
    async with upstream(answering(answer)) as up, proxied(up.port) as gateway:
        gateway.verifier.tokens[b"bob"] = replace(CLAIMS, subject="0190b0c2-0000-7000-8000-000000000002")
        first = await gateway.talk(get())
        await gateway.talk(get(token=b"bob"))
        await gateway.talk(get())
    assert fields_of(first, b"Set-Cookie") == [b"session=of-alice; Path=/"]
    assert [fields_of(head, b"Cookie") for head in up.heads] == [[], [], []]


@pytest.mark.parametrize("value", [b"\xff\xfe", b"\xc3\xa9", b"", b" \t ", b"a" * 7000, b'"quoted"', b"=?utf-8?q?x?="])
async def test_forged_identity_is_removed_whatever_its_bytes(value: bytes) -> None:
    lines = b"".join(name + b": " + value + b"\r\n" for name in (b"X-User-Id", b"x_user_email"))
    request = get("/public/x").replace(b"\r\n\r\n", b"\r\n" + lines + b"\r\n")
    async with upstream(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as up, proxied(up.port) as gateway:
        assert status_of(await gateway.talk(request)) == 200
    assert b"user" not in up.heads[0].lower()


async def test_a_forged_host_is_in_no_url_the_gateway_writes() -> None:
    bench = ApiBench()
    await bench.add_user()
    async with serving(bench) as api:
        forged = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"}
        answers = [
            await api.get("openapi.json", headers=forged),
            await api.get("/.well-known/jwks.json", headers=forged),
            await api.get("me", headers=forged),
            await api.login(headers=forged),
        ]
    for answer in answers:
        assert b"evil" not in answer.body
        assert "evil" not in str(answer.headers)
    claims = bench.verifier.verify(answers[-1].json["access_token"].encode())
    assert claims.username == "ada"


async def test_a_referer_passes_as_it_came_and_answers_have_none() -> None:
    async with upstream(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as up, proxied(up.port) as gateway:
        answer = await gateway.talk(get("/api/x", "Referer: http://gateway.test/before"))
        refused = await gateway.talk(get("/api/x", "Referer: http://gateway.test/before", token=b"bad-token"))
    assert field_of(up.heads[0], b"Referer") == b"http://gateway.test/before"
    for got in (answer, refused):
        assert fields_of(got, b"Referer") == fields_of(got, b"Location") == []


@pytest.mark.parametrize(("window", "longest"), [("60s", 15.0), ("20s", 5.0), ("4s", 1.0), ("0s", 1.0)])
def test_a_lock_is_waited_for_a_quarter_of_the_window(window: str, longest: float) -> None:
    """A refresh that waits longer than its client does would look like a lost answer."""
    settings = load(None, {}, {"sessions.in_flight_window": window}).settings
    assert lock_timeout(settings) == longest
