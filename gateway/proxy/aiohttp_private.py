"""A client's connection, on private parts of aiohttp; tests/unit/proxy/test_aiohttp_private.py watches those."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, cast

from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import LineTooLong
from aiohttp.tcp_helpers import tcp_keepalive
from aiohttp.web_protocol import RequestHandler

from gateway import tasks
from gateway.errors import GatewayError, InvalidRequest, RequestTimeout
from gateway.proxy.messages import NO_BODY, Body, Message
from gateway.proxy.own_api import last_answer, run_application
from gateway.proxy.pipeline import BUFFER, HEAD_END, Garbled, request_parser, reset, whole_requests
from gateway.proxy.ports import Dispatcher, Exchange
from gateway.proxy.proxy_protocol import Source
from gateway.proxy.refusals import HeadTooLarge, TargetTooLong
from gateway.proxy.slow_bodies import BodyWatch, has_large_head
from gateway.proxy.timer import NEVER, LazyTimer

if TYPE_CHECKING:
    from gateway.proxy.repeat import Repeat

_CHUNKED_END: Final = b"\r\n0\r\n\r\n"
_LONGEST_BLOCK: Final = 2048  # what is remembered of an idle connection must stay small


class ClientConnection(RequestHandler):
    """aiohttp's server protocol without its task per connection and per request: requests are dispatched as they are
    parsed, in order, one at a time. Only requests to the gateway's own API get a task.
    """

    __slots__ = (
        "_aligned",
        "_busy",
        "_chunked",
        "_deaf",
        "_draining",
        "_head_size",
        "_idle_waiter",
        "_limits",
        "_open_body",
        "_pumping",
        "_timer",
        "_watch",
        "address",
        "block",
        "dispatcher",
        "early",
        "exchange",
        "forwarded",
        "named",
        "repeat",
        "repeats",
        "slot",
        "trusted",
    )

    def __init__(self, server: web.Server, dispatcher: Dispatcher, *, loop: asyncio.AbstractEventLoop) -> None:
        limits = dispatcher.limits
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=limits.keep_alive,
            access_log=None,  # type: ignore[arg-type] # None switches aiohttp's own log off
            max_line_size=limits.line_size,
            max_field_size=limits.field_size,
            max_headers=limits.fields,
            read_bufsize=BUFFER,
            auto_decompress=False,
        )
        self.dispatcher = dispatcher
        self._limits = limits
        self._timer = LazyTimer(loop, self._expired)
        self._busy = False
        self._aligned = True  # every read so far began where a request does
        self._pumping = False
        self._deaf = False
        self._draining = False
        self._chunked = False
        self._head_size = 0
        self.block = b""  # the header block of the request before, with the CRLF in front of it
        self._open_body: Body | None = None
        self._idle_waiter: asyncio.Future[None] | None = None
        self._watch: BodyWatch | None = None
        self.named: Source | None = None
        self.slot: str | None = None
        self.exchange: Exchange | None = None
        self.address = ""
        self.early = False  # whether the client went on before its request to change the protocol was answered
        self.trusted = False
        self.forwarded = b""
        self.repeats = False  # whether the request being dispatched has the header block of the one before
        self.repeat: Repeat | None = None

    # -- the loop's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop. aiohttp's own would start a task."""
        BaseProtocol.connection_made(self, transport)
        stream = cast("asyncio.Transport", transport)
        tcp_keepalive(stream)
        assert self._manager is not None  # noqa: S101 - set until the connection is lost
        self._manager.connection_made(self, stream)
        self._timer.set(self._loop.time() + self._limits.keep_alive)
        if not self.dispatcher.opened(self):
            self.tear()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Called by the loop."""
        self._timer.cancel()
        self._messages.clear()
        self._deaf = True
        super().connection_lost(exc)
        self.dispatcher.closed(self)
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.client_lost()
            self._busy = False
        self._wake_shutdown()

    def data_received(self, data: bytes) -> None:
        """Called by the loop, and with b"" when a paused parser may go on."""
        if self._deaf or self._parser is None:
            self.early = self.early or bool(data)
            return
        repeat = self.repeat
        if (
            repeat is not None
            and data.endswith(repeat.block)
            and self._may_repeat()
            and self.dispatcher.repeat(self, repeat, data[: -len(repeat.block)])
        ):
            return
        messages: Any
        body = self._open_body
        held = body.total_bytes if body is not None else 0
        try:
            messages, upgraded, tail = self._parser.feed_data(data)
        except Exception as error:  # noqa: BLE001 - the parser raises more than its own errors
            self._garbled(error, data, begun=body is not None)
            return
        size = len(data)
        if body is not None:
            # Of what came, the end of a body is no part of the next head; behind a chunked one nothing is read.
            size = 0 if self._chunked else size - (body.total_bytes - held)
            messages = self._body_progress(messages, data)
            self._tell_of(body)
            if self._deaf:
                return
        if not messages:
            if self._open_body is None:
                self._between(size, upgraded=upgraded)
            return
        if self._head_size + size > self._limits.head_size and has_large_head(messages, self._limits.head_size):
            self._stop_reading(HeadTooLarge())
            return
        self.repeats = body is None and not self._head_size and len(messages) == 1 and self._is_repeated(messages, data)
        self._head_size = 0
        self._begin(messages, data, upgraded=upgraded, early=bool(tail))

    def pause_writing(self) -> None:
        """Called by the loop: the client is slow to read."""
        super().pause_writing()
        self._timer.set(self._loop.time() + self._limits.stall)
        if self.exchange is not None:
            self.exchange.client_paused()

    def resume_writing(self) -> None:
        """Called by the loop: the client has read."""
        super().resume_writing()
        if not self._busy:
            self._timer.set(self._loop.time() + self._limits.keep_alive)
        else:
            self._watch_body()
        if self.exchange is not None:
            self.exchange.client_resumed()
        elif not self._busy:
            self._pump()

    def pause_reading(self) -> None:
        """Called by a body that nobody takes: the client is not to blame for what does not come."""
        if self._watch is not None:
            self._watch.held_back = True
        super().pause_reading()

    # -- for whoever answers

    @property
    def peername(self) -> tuple[str, int] | str | None:
        """Who is at the other end: the one a PROXY header named, else the socket's peer."""
        if self.named is not None:
            return self.named.address, self.named.port
        return cast("tuple[str, int] | str | None", super().peername)

    @property
    def congested(self) -> bool:
        """Whether the client is slow to read."""
        return self._paused

    @property
    def keeps_alive(self) -> bool:
        """Whether another request may follow the one being answered."""
        return not self._draining and not (self._deaf and not self._messages)

    @property
    def gone(self) -> bool:
        """Whether there is nobody to answer."""
        return self.transport is None or self.transport.is_closing()

    def write(self, data: bytes) -> None:
        """Write to the client."""
        transport = self.transport
        if transport is not None and not transport.is_closing():
            transport.write(data)

    def begun(self) -> None:
        """A request that was not dispatched from here is being answered."""
        self._busy = True
        self._timer.when = NEVER

    def expire_body(self, payload: Body) -> None:
        """End a body that does not come."""
        if not payload.is_eof():
            payload.set_exception(RequestTimeout())
            self._tell_of(payload)

    def done(self, *, keep_alive: bool) -> None:
        """The answer is written: go on with the next request, or close."""
        self.exchange = None
        self._busy = False
        if not keep_alive or not self.keeps_alive or self._open_body is not None:
            self._close_gently()
            return
        limits = self._limits
        limit = limits.stall if self._paused else limits.head if self._head_size else limits.keep_alive
        self._timer.set(self._loop.time() + limit)
        if self._messages and not self._pumping:
            self._pump()

    def tear(self) -> None:
        """End the connection in a way that no client takes for the end of the answer."""
        self.exchange = None
        self._deaf = True
        if self.transport is not None:
            reset(self.transport)

    def detach(self) -> asyncio.Transport:
        """Give the transport away, and all that made this a connection of HTTP."""
        transport = self.transport
        assert transport is not None  # noqa: S101 - `gone` was asked
        if self._reading_paused or self._buffer_paused:
            transport.resume_reading()
        self.exchange = self.transport = None
        self.connection_lost(None)
        return transport

    def serve_application(self, app: web.Application, message: Message, payload: Body) -> None:
        """Let the ordinary aiohttp application answer."""
        if not payload.is_eof():
            self._watch = None
            self._timer.set(self._loop.time() + self._limits.own_body)
        task = tasks.spawn(run_application(self, app, message, payload), name="own api")
        self._task_handler = cast("asyncio.Task[None]", task)

    # -- another configuration, or another process

    def redirect(self, dispatcher: Dispatcher) -> None:
        """Let `dispatcher` answer from the next request on."""
        if self.dispatcher is not dispatcher:
            self.dispatcher = dispatcher
            self.repeat = None
            if self.transport is not None:
                dispatcher.recognise(self)

    def leave(self) -> None:
        """Close after the next answer."""
        self._draining = True

    # -- shutting down, called by aiohttp's runners

    def close(self) -> None:
        """Finish what is being answered, then close."""
        self._draining = True
        if not self._busy and self.transport is not None:
            self._close_gently()

    async def shutdown(self, timeout: float | None = 15.0) -> None:
        """Close, giving the request under way `timeout` seconds."""
        self.close()
        if self._busy and self.transport is not None:
            self._idle_waiter = self._loop.create_future()
            await asyncio.wait([self._idle_waiter], timeout=timeout)
        if self._task_handler is not None:
            self._task_handler.cancel()
        if self.transport is not None:
            self.transport.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What aiohttp answers when an application's own error handling failed."""
        return last_answer(request, message)

    # -- inner working

    def _may_repeat(self) -> bool:
        """Whether what came begins a request, and nothing stands before it."""
        return not (self._busy or self._head_size or self._paused or self._messages or self._pumping)

    def _is_repeated(self, messages: list[tuple[Message, Body]], data: bytes) -> bool:
        """Whether all of `data` is one head, with the header block of the one before."""
        block = b""
        if messages[0][1] is NO_BODY and data.find(HEAD_END) == len(data) - 4:
            block = data[data.find(b"\r\n") :]
        repeated = block == self.block != b""
        self.block = block if len(block) <= _LONGEST_BLOCK else b""
        self.repeat = None
        return repeated

    def _pump(self) -> None:
        """Dispatch what was parsed, one request at a time, while the client reads what it gets."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._messages and not self._busy and not self._paused and not self._force_close:
                message, payload = cast("Any", self._messages.popleft())
                if self._parser is not None:  # before it goes on parsing: it stops at as many as wait here
                    self._parser.message_consumed()
                if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
                    self._resume_reading_if_drained()
                if type(message) is Garbled:
                    self._busy = True
                    self.dispatcher.refuse(self, message.error)
                else:
                    self._start(message, payload)
        finally:
            self._pumping = False

    def _start(self, message: Message, payload: Body) -> None:
        self._busy = True
        self._timer.when = NEVER
        if self._open_body is not None:
            self._watch_body()
        self.dispatcher.dispatch(self, message, payload)

    def _begin(self, messages: list[tuple[Message, Body]], data: bytes, *, upgraded: bool, early: bool) -> None:
        """Requests have begun; `early`: something came behind one that changes the protocol."""
        if len(messages) > 1 or messages[0][1] is not NO_BODY:
            self._aligned = False
            messages = self._with_bodies(messages, data)
        elif not data.endswith(HEAD_END):  # part of another head came along
            self._aligned = False
            self._head_size = 1
        if upgraded or messages[-1][0].upgrade:
            # What follows may be another protocol; it is never read as a request (RFC 9110 7.8).
            self._deaf = self._open_body is None
            self.early = early
        if not self._busy and not self._paused and not self._messages and len(messages) == 1 and not self._pumping:
            self._parser.message_consumed()  # type: ignore[union-attr] # it made them
            self._start(*messages[0])
            return
        self._messages.extend(cast("Any", messages))
        if len(self._messages) >= self._max_msg_queue_size and not self._buffer_paused:
            self._pause_reading_for_buffer()
        if not self._busy:
            self._pump()

    def _with_bodies(self, messages: list[tuple[Message, Body]], data: bytes) -> list[tuple[Message, Body]]:
        """Remember the body that is still to come, and stop behind a chunked one that did not end plainly."""
        for at, (message, payload) in enumerate(messages):
            if message.chunked and payload.is_eof() and not (at + 1 == len(messages) and data.endswith(_CHUNKED_END)):
                self._deaf = True
                return messages[: at + 1]
        message, payload = messages[-1]
        if not payload.is_eof():
            self._open_body = payload
            self._chunked = message.chunked
        return messages

    def _body_progress(self, messages: list[tuple[Message, Body]], data: bytes) -> list[tuple[Message, Body]]:
        """Whether the open body has ended. Trailers stay in aiohttp's parser and would stand among the headers of the
        next request, so nothing is read behind a chunked body that ends with anything but the last chunk.
        """
        if self._open_body is None or not self._open_body.is_eof():
            return messages
        chunked, self._chunked = self._chunked, False
        self._open_body = None
        self._timer.when = NEVER
        if chunked and (messages or not data.endswith(_CHUNKED_END)):
            self._deaf = True
            return []
        return messages

    def _tell_of(self, body: Body) -> None:
        """Whoever passes a body on is told of its progress; the own API waits for it itself."""
        exchange = self.exchange
        if exchange is not None and exchange.payload is body:
            exchange.body_came()

    def _between(self, size: int, *, upgraded: bool) -> None:
        """Bytes that began no request and belong to no body. Part of a head: the rest must follow in time, and not be
        endless.
        """
        if upgraded:  # by a request with a body, and the parser has dropped what came behind that
            self._deaf = True
        if self._deaf or size <= 0:
            return
        if self._head_size == 0 and not self._busy:
            self._timer.set(self._loop.time() + self._limits.head)
        self._head_size += size
        if self._head_size > self._limits.head_size:
            self._stop_reading(HeadTooLarge())

    def _garbled(self, error: Exception, data: bytes, *, begun: bool) -> None:
        """The parser gave up, and with it what stood in front of the fault; `begun`: a body was still to come."""
        if self._aligned and not (begun or self._head_size or self._messages):
            parser = request_parser(self, self._loop, self._limits)
            self._messages.extend(cast("Any", whole_requests(parser, data, self._max_msg_queue_size)))
        if isinstance(error, LineTooLong):
            line = data.partition(b"\r\n")[0]
            long = self._head_size == 0 and len(line) > self._limits.line_size
            problem: GatewayError = TargetTooLong() if long else HeadTooLarge()
        else:
            problem = InvalidRequest("The request is not valid HTTP.", debug=type(error).__name__)
        self._stop_reading(problem)

    def _stop_reading(self, problem: GatewayError) -> None:
        self._deaf = True
        body, self._open_body = self._open_body, None
        if body is not None:
            whole = body.is_eof()
            if not whole:  # the request it belongs to fails with it
                body.set_exception(problem)
            self._tell_of(body)
            if not whole:
                return
        self._messages.append((cast("Any", Garbled(problem)), NO_BODY))
        if not self._busy:
            self._pump()

    def _expired(self) -> None:
        if self._deaf or self._paused or self.transport is None:
            if self.transport is not None:
                self.transport.abort()
        elif self._busy:
            if self._open_body is not None:
                self._body_due(self._open_body)
        elif self._head_size:
            self._stop_reading(RequestTimeout("The request head did not arrive in time."))
        else:
            self.transport.close()

    def _watch_body(self) -> None:
        """Begin a time in which enough of the open body must come; without one there is no limit."""
        self._timer.when = NEVER
        if self._open_body is not None:
            self._watch = BodyWatch(self._open_body.total_bytes, held_back=self._reading_paused)
            self._timer.set(self._loop.time() + self._limits.body_window)

    def _body_due(self, body: Body) -> None:
        if self._watch is None or self._watch.too_slow(body.total_bytes, self._limits):
            self.expire_body(body)
        else:
            self._watch_body()

    def _close_gently(self) -> None:
        """Close. Where the client may still be sending, first let it read the answer: a reset would destroy it."""
        transport = self.transport
        lingering = self._deaf or self._open_body is not None
        self._deaf = True
        self._messages.clear()
        if transport is None or transport.is_closing():
            return
        if lingering and transport.can_write_eof():
            # A slow client first has to read what is still here.
            unread = transport.get_write_buffer_size()
            self._timer.set(self._loop.time() + (self._limits.stall if unread else self._limits.linger))
            transport.write_eof()
            if self._reading_paused or self._buffer_paused:
                self._reading_paused = self._buffer_paused = False
                self._resume_transport_reading()
        else:
            self._timer.set(self._loop.time() + self._limits.stall)
            transport.close()
        self._wake_shutdown()

    def _wake_shutdown(self) -> None:
        if self._idle_waiter is not None and not self._idle_waiter.done():
            self._idle_waiter.set_result(None)
