"""What the proxy relies on inside aiohttp. When one of these fails, aiohttp has changed: read aiohttp_private.py."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest
from aiohttp import http_parser, web, web_protocol
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import LineTooLong
from aiohttp.http_parser import HttpRequestParser
from aiohttp.streams import StreamReader

from gateway.proxy.messages import NO_BODY, take
from gateway.proxy.own_api import rewritten, without_headers


def request_parser() -> Any:
    protocol: Any = type("P", (), {"pause_reading": lambda self: None, "resume_reading": lambda self, **_: None})()
    return HttpRequestParser(protocol, asyncio.get_event_loop(), 65536, auto_decompress=False, max_msg_queue_size=32)


def test_the_c_parser_is_in_use() -> None:
    assert http_parser.HttpRequestParser.__module__ == "aiohttp._http_parser"


def test_attributes_that_are_used() -> None:
    slots = {name for base in (web_protocol.RequestHandler, BaseProtocol) for name in base.__slots__}
    assert slots >= {
        "_loop", "_paused", "_reading_paused", "_buffer_paused", "_parser", "_messages", "_max_msg_queue_size",
        "_msg_queue_resume_size", "_manager", "_force_close", "_task_handler", "transport",
    }  # fmt: skip
    for name in ("_handle_request", "_resume_reading_if_drained", "connection_lost", "handle_error", "force_close"):
        assert callable(getattr(web_protocol.RequestHandler, name))
    for name in ("_pause_reading_for_buffer", "_resume_transport_reading", "pause_writing", "resume_writing"):
        assert callable(getattr(BaseProtocol, name))
    assert list(inspect.signature(web.Application._make_request).parameters)[1:6] == [
        "message", "payload", "protocol", "writer", "task"
    ]  # fmt: skip
    assert inspect.iscoroutinefunction(web.Application._handle)
    assert list(inspect.signature(web_protocol.RequestHandler._handle_request).parameters)[1:] == [
        "request", "start_time", "request_handler"
    ]  # fmt: skip


async def test_request_messages_keep_the_raw_target_and_headers() -> None:
    parser = request_parser()
    [(message, payload)], upgraded, tail = parser.feed_data(b"GET /%61?b#c HTTP/1.1\r\nhOST: a\r\nX: \xff \r\n\r\n")
    assert (message.path, message.raw_headers) == ("/%61?b#c", ((b"hOST", b"a"), (b"X", b"\xff")))
    assert (message.version == (1, 1), payload is NO_BODY, payload.is_eof(), upgraded, tail) == (
        True,
        True,
        True,
        False,
        b"",
    )
    parser.message_consumed()
    other = rewritten(message, "/x?y")
    assert (other.path, str(other.__getattribute__("url")), message.path) == ("/x?y", "/x?y", "/%61?b#c")


async def test_long_lines_have_their_own_error() -> None:
    with pytest.raises(LineTooLong):
        request_parser().feed_data(b"GET /" + b"a" * 9000)


async def test_trailers_still_leak_into_the_next_message() -> None:
    """The reason for the care taken with chunked ends. When this fails, that care may go."""
    parser = request_parser()
    parser.feed_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Leak: 1\r\n\r\n")
    parser.message_consumed()
    [(message, _)], _, _ = parser.feed_data(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert message.raw_headers[0] == (b"X-Leak", b"1")


async def test_a_body_is_taken_without_waiting() -> None:
    parser = request_parser()
    [(_, body)], _, _ = parser.feed_data(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
    assert isinstance(body, StreamReader)
    assert (take(body), take(body), body.is_eof()) == (b"ab", b"", False)
    parser.feed_data(b"cd")
    assert (take(body), body.is_eof(), body.exception()) == (b"cd", True, None)


async def test_what_comes_behind_an_upgrade_is_handed_back_and_the_headers_can_be_forgotten() -> None:
    parser = request_parser()
    data = b"GET /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Secret: s\r\n\r\n"
    [(message, payload)], upgraded, tail = parser.feed_data(data + b"behind")
    assert (message.upgrade, payload is NO_BODY, upgraded, tail) == (True, True, True, b"behind")
    bare = without_headers(message)
    assert (bare.method, bare.path, bare.raw_headers, len(bare.headers)) == ("GET", "/a", (), 0)
