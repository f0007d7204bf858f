"""What a client says about who it is never reaches a backend; what the gateway says always does."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.proxying import (
    CLAIMS,
    TOKEN,
    answering,
    field_of,
    fields_of,
    get,
    proxied,
    read_all,
    routes_to,
    status_of,
    talk,
    upstream,
)

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
FORGED = (
    "X-User-Id", "x-user-id", "X_User_Id", "X_USER_ID", "x.user.id", "X-User_Id", "X~User|Id", "x!user#id",
    "X_User_Name", "X-USER-EMAIL", "X_User_Email", "x_user_roles", "X.User.Roles", "X_Session_Id", "x-SESSION_id",
)  # fmt: skip


@pytest.mark.parametrize("path", ["/api/x", "/optional/x", "/public/x"])
async def test_forged_identity_is_removed_under_every_spelling(path: str) -> None:
    lines = [f"{name}: evil" for name in FORGED] + ["X-User-Id: evil2", "X-User-Idx: kept"]
    async with upstream(answering(OK)) as up, proxied(up.port) as gateway:
        assert status_of(await gateway.talk(get(path, *lines))) == 200
    [head] = up.heads
    assert b"evil" not in head
    assert field_of(head, b"X-User-Idx") == b"kept"
    expected = [] if path == "/public/x" else [CLAIMS.subject.encode()]
    assert fields_of(head, b"X-User-Id") == expected


async def test_a_user_without_email_does_not_get_the_one_the_client_sends() -> None:
    async with upstream(answering(OK)) as up, proxied(up.port) as gateway:
        gateway.verifier.tokens[b"no-mail"] = replace(CLAIMS, email=None, roles=())
        await gateway.talk(get("/api/x", "X-User-Email: boss@example.com", "X-User-Roles: admin", token=b"no-mail"))
    assert fields_of(up.heads[0], b"X-User-Email") == fields_of(up.heads[0], b"X-User-Roles") == []


@pytest.mark.parametrize(
    "connection",
    ["close, X-User-Id, Authorization", "close, x_user_id", "X-User-Id, X-User-Roles, X-Session-Id, close"],
)
async def test_connection_cannot_name_injected_headers_away(connection: str) -> None:
    request = get("/api/x", f"Connection: {connection}", "X-Hop: 1", close=False)
    async with upstream(answering(OK)) as up, proxied(up.port) as gateway:
        assert status_of(await gateway.talk(request)) == 200
    head = up.heads[0]
    assert field_of(head, b"X-User-Id") == CLAIMS.subject.encode()
    assert field_of(head, b"X-User-Roles") == b"user,editor"
    assert fields_of(head, b"Connection") == []
    assert field_of(head, b"X-Hop") == b"1"


async def test_headers_named_by_connection_and_hop_by_hop_ones_go_no_further() -> None:
    request = get(
        "/api/x", "Connection: close, X-Hop", "Connection: x_other", "X-Hop: 1", "X-Other: 1", "X_Hop: 2",
        "Keep-Alive: 5", "Proxy-Connection: x", "Proxy-Authorization: Basic x", "TE: trailers", "Trailer: X-T",
        "Upgrade: h2c", "Proxy: evil", "Content_Length: 5", "Transfer_Encoding: chunked", close=False,
    )  # fmt: skip
    async with upstream(answering(OK)) as up, proxied(up.port) as gateway:
        assert status_of(await gateway.talk(request)) == 200
    names = {line.partition(b":")[0].lower() for line in up.heads[0].split(b"\r\n")[1:] if line}
    assert names == {
        b"host", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-request-id",
        b"x-user-id", b"x-user-name", b"x-user-email", b"x-user-roles", b"x-session-id",
    }  # fmt: skip


async def test_other_headers_pass_as_bytes() -> None:
    request = get(
        "/api/x", "X-Note: caf\xe9 \xff", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    )
    async with upstream(answering(OK)) as up, proxied(up.port) as gateway:
        await gateway.talk(request)
    assert field_of(up.heads[0], b"X-Note") == b"caf\xe9 \xff"
    assert field_of(up.heads[0], b"traceparent") == b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


VOUCHED = (
    "X-Forwarded-For: 1.2.3.4", "X_Forwarded_For: 1.2.3.4", "X-Forwarded-Host: evil", "X-Forwarded-Proto: https",
    "X-Forwarded-Uri: /evil", "X-Forwarded-Prefix: /evil", "X-Original-Url: /evil", "X-Rewrite-Url: /evil",
    "X-Real-Ip: 1.2.3.4", "Forwarded: for=1.2.3.4", "True-Client-Ip: 1.2.3.4", "X-Request-Id: evil",
    "X-Forwarded: for=1.2.3.4", "Forwarded-For: 1.2.3.4",
)  # fmt: skip


async def test_an_untrusted_peer_speaks_for_nobody() -> None:
    async with upstream(answering(OK)) as up, proxied(up.port) as gateway:
        answer = await gateway.talk(get("/api/x", *VOUCHED))
    head = up.heads[0]
    assert b"evil" not in head
    assert b"1.2.3.4" not in head
    assert field_of(head, b"X-Forwarded-For") == b"127.0.0.1"
    assert field_of(head, b"X-Forwarded-Proto") == b"http"
    assert field_of(head, b"X-Forwarded-Host") == b"gateway.test"
    assert field_of(head, b"X-Request-Id") == field_of(answer, b"X-Request-Id") != b"evil"


@pytest.mark.parametrize(
    ("received", "client"),
    [
        (["198.51.100.7"], "198.51.100.7"),
        (["garbage"], "127.0.0.1"),
        (["198.51.100.7:4711, 10.0.0.1"], "10.0.0.1"),
        (["::ffff:198.51.100.7"], "198.51.100.7"),
        (["[2001:db8::1]:80"], "2001:db8::1"),
        (["203.0.113.1", "198.51.100.7"], "198.51.100.7"),
        ([", ".join(["198.51.100.7"] + ["127.0.0.1"] * 500)], "127.0.0.1"),
    ],
)
async def test_a_trusted_peer_names_the_client(received: list[str], client: str) -> None:
    lines = [f"X-Forwarded-For: {value}" for value in received]
    async with upstream(answering(OK)) as up, proxied(up.port, trusted=["127.0.0.0/8"]) as gateway:
        answer = await gateway.talk(get("/api/x", *lines, "X-Forwarded-Proto: https", "X-Request-Id: kept-1"))
    head = up.heads[0]
    assert field_of(head, b"X-Forwarded-For") == ", ".join([*received, "127.0.0.1"]).encode()
    assert field_of(head, b"X-Forwarded-Proto") == b"https"
    assert field_of(head, b"X-Forwarded-Host") == b"gateway.test"
    assert field_of(head, b"X-Request-Id") == field_of(answer, b"X-Request-Id") == b"kept-1"
    assert gateway.notes.requests[0][11] == client


async def test_own_cookies_stay_here_and_upstreams_cannot_set_them() -> None:
    answer = (
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: theme=dark\r\n"
        b"Set-Cookie: __Host-gw_refresh=stolen; Path=/\r\nset-cookie: __Host-gw_access =x\r\n"
        b"Set-Cookie: =__Host-gw_refresh=nameless\r\nSet-Cookie: = \t=__Host-gw_access=x\r\n\r\n"
    )
    cookie = 'Cookie: a="1; 2"; __Host-gw_refresh=secret; b=2; __host-GW_REFRESH=secret;c=caf\xe9'
    async with upstream(answering(answer)) as up, proxied(up.port) as gateway:
        got = await gateway.talk(get("/public/x", cookie, "Cookie: __Host-gw_access=secret", "Cookie: d=4"))
    assert b"secret" not in up.heads[0]
    assert fields_of(up.heads[0], b"Cookie") == [b'a="1; 2"; b=2;c=caf\xe9', b"d=4"]
    assert fields_of(got, b"Set-Cookie") == [b"theme=dark"]


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["Authorization: Bearer good-token"], 200),
        (["authorization: bEARER   good-token"], 200),
        ([], 401),
        (["Authorization: Basic Zm9vOmJhcg=="], 401),
        (["Authorization: Bearer"], 401),
        (["Authorization: Bearer bad"], 401),
        (["Authorization: Bearer good-token, Bearer bad"], 401),
        (["Authorization: Bearer good-token good-token"], 401),
        (["Authorization: Bearer " + "a" * 5000], 401),
        (["Authorization: Bearer good-token", "Authorization: Bearer good-token"], 400),
        (["Authorization: Bearer good-token", "Authorization: Basic x"], 400),
        (["Authorization: Bearer explode"], 503),
    ],
)
async def test_credentials(lines: list[str], status: int) -> None:
    async with upstream(answering(OK)) as up, proxied(up.port) as gateway:
        answer = await gateway.talk(get("/api/x", *lines, token=None))
    assert status_of(answer) == status
    assert len(up.heads) == (status == 200)
    assert not any(b"Authorization" in head for head in up.heads)
    if status == 401:
        challenge = field_of(answer, b"WWW-Authenticate") or b""
        assert challenge.startswith(b'Bearer realm="gateway"')
        assert (b'error="invalid_token"' in challenge) == any("Bearer" in line for line in lines)
    if status == 503:
        assert [event.name for event in gateway.notes.events] == ["request.failed"]
        assert "explode" not in str(gateway.notes.events)


async def test_a_token_in_two_places_is_refused() -> None:
    async with upstream(answering(OK)) as up, proxied(up.port) as gateway:
        assert status_of(await gateway.talk(get("/api/x?a=1&access_token=good-token"))) == 400
        assert status_of(await gateway.talk(get("/api/x?access_token=good-token", token=None))) == 401
    assert up.heads == []


@pytest.mark.parametrize(
    ("path", "value", "passes"),
    [
        ("/optional/x", "Basic Zm9v", True),
        ("/public/x", "Digest x", True),
        ("/public/x", "Bearer theirs", False),
        ("/optional/x", "Bearer good-token", False),
    ],
)
async def test_other_schemes_pass_where_the_gateway_does_not_insist(path: str, value: str, passes: bool) -> None:
    async with upstream(answering(OK)) as up, proxied(up.port) as gateway:
        assert status_of(await gateway.talk(get(path, f"Authorization: {value}", token=None))) == 200
    assert fields_of(up.heads[0], b"Authorization") == ([value.encode()] if passes else [])


async def test_an_optional_route_refuses_a_bad_token_and_takes_none() -> None:
    async with upstream(answering(OK)) as up, proxied(up.port) as gateway:
        assert status_of(await gateway.talk(get("/optional/x", token=b"bad"))) == 401
        assert status_of(await gateway.talk(get("/optional/x", token=None))) == 200
        assert status_of(await gateway.talk(get("/optional/x"))) == 200
    assert [fields_of(head, b"X-User-Name") for head in up.heads] == [[], [b"alice"]]


async def test_the_token_is_forwarded_only_where_configured() -> None:
    async with upstream(answering(OK)) as up, proxied(up.port, forward_authorization=True) as gateway:
        await gateway.talk(get())
        await gateway.talk(get("/api/x", "Connection: close, Authorization", close=False))
    assert fields_of(up.heads[0], b"Authorization") == [b"Bearer " + TOKEN]
    assert fields_of(up.heads[1], b"Authorization") == []
    assert field_of(up.heads[1], b"X-User-Name") == b"alice"


async def test_trailers_are_never_merged_into_this_or_the_next_request() -> None:
    body = b"3\r\nabc\r\n0\r\nX-User-Id: evil\r\nAuthorization: Bearer bad\r\n\r\n"
    first = get("/public/x", "Transfer-Encoding: chunked", method="POST", close=False) + body

    def script(raw):  # type: ignore[no-untyped-def]
        async def follow(reader, writer):  # type: ignore[no-untyped-def]
            await raw.head(reader)
            raw.heads.append(await reader.readuntil(b"0\r\n\r\n"))
            writer.write(OK)
            raw.heads.append(await read_all(reader))

        return follow

    async with upstream(script) as up, proxied(up.port) as gateway:
        answer = await gateway.talk(first + get("/public/next"))
    assert answer.count(b"HTTP/1.1 200") == 1
    assert field_of(answer, b"Connection") == b"close"
    assert up.heads[1:] == [b"3\r\nabc\r\n0\r\n\r\n", b""]
    assert b"evil" not in b"".join(up.heads)


async def test_trailers_of_one_answer_do_not_reach_the_next_one() -> None:
    first = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nSet-Cookie: of=another-user\r\n\r\n"

    def script(raw):  # type: ignore[no-untyped-def]
        async def follow(reader, writer):  # type: ignore[no-untyped-def]
            for answer in (first, OK):
                await raw.head(reader)
                writer.write(answer)
            await read_all(reader)

        return follow

    async with upstream(script) as up, proxied(up.port) as gateway:
        one = await gateway.talk(get())
        two = await talk(gateway.port, get())
        assert up.connections == 1
    assert status_of(one) == status_of(two) == 200
    assert b"another-user" not in one + two
    assert two.endswith(b"ok")


async def test_authorisation_and_revocation_are_asked_every_time() -> None:
    from gateway.sessions.ports import FeedEntry, FeedKind

    async with upstream(answering(OK)) as up:
        routes = [replace(route, roles=frozenset({"admin"}), path="/admin/") for route in routes_to(up.port)[:1]]
        routes += [replace(routes_to(up.port)[0], name="mfa", path="/mfa/", mfa=True)]
        async with proxied([*routes, *routes_to(up.port)]) as gateway:
            assert status_of(await gateway.talk(get())) == 200
            refused = await gateway.talk(get("/admin/x"))
            weak = await gateway.talk(get("/mfa/x"))
            entry = FeedEntry(1, FeedKind.SESSION, CLAIMS.session_id, 0, CLAIMS.expires_at)
            gateway.index.apply([entry])
            gone = await gateway.talk(get())
    assert status_of(refused) == 403
    assert b'error="insufficient_scope"' in (field_of(refused, b"WWW-Authenticate") or b"")
    assert status_of(weak) == 401
    assert b'error="insufficient_user_authentication"' in (field_of(weak, b"WWW-Authenticate") or b"")
    assert b'acr_values="mfa"' in (field_of(weak, b"WWW-Authenticate") or b"")
    assert status_of(gone) == 401
    assert len(up.heads) == 1
    assert gateway.verifier.calls == 1
    assert [passive for _, passive in gateway.notes.receipts] == [False] * 3
