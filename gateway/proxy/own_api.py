"""An ordinary aiohttp application answers what a client's connection received. More of aiohttp's private names."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, cast

from aiohttp import web
from aiohttp.http_writer import StreamWriter
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from gateway.errors import GatewayError
from gateway.web.problem import render

if TYPE_CHECKING:
    from gateway.proxy.aiohttp_private import ClientConnection
    from gateway.proxy.messages import Body, Message

_NO_HEADERS: Final = CIMultiDictProxy(CIMultiDict[str]())


async def run_application(client: ClientConnection, app: web.Application, message: Message, payload: Body) -> None:
    """Answer, then tell `client` that it is done."""
    keep_alive = False
    writer = StreamWriter(client, client._loop)
    task = cast("asyncio.Task[None]", asyncio.current_task())
    request = app._make_request(cast("Any", message), payload, client, writer, task)

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        response: web.StreamResponse
        try:
            response = await cast("Any", app._handle)(request)
        except web.HTTPException as answer:
            _say_whether_it_ends(answer)
            raise
        _say_whether_it_ends(response)
        return response

    def _say_whether_it_ends(answer: web.StreamResponse) -> None:
        if not (client.keeps_alive and payload.is_eof()):
            answer.force_close()

    try:
        response, reset = await client._handle_request(request, None, handle)
        keep_alive = bool(response.keep_alive) and not reset and payload.is_eof()
    except ConnectionError:
        keep_alive = False  # the client is gone, or got half an answer
    finally:
        request._task = None  # type: ignore[assignment] # breaks a reference cycle
        client._task_handler = None
        client.done(keep_alive=keep_alive)


def last_answer(request: web.BaseRequest, debug: str | None) -> web.Response:
    """What is answered when an application's own error handling failed."""
    if request.writer.output_size > 0:
        raise ConnectionError("an answer is under way already")
    rendered = render(GatewayError(debug=debug), "")
    response = web.Response(status=rendered.status, headers=list(rendered.headers), body=rendered.body)
    response.force_close()
    return response


def rewritten(message: Message, target: str) -> Message:
    """The message with another request target."""
    return cast("Message", cast("Any", message)._replace(path=target, url=URL(target, encoded=True)))


def without_headers(message: Message) -> Message:
    """The message without what may be large or secret, for keeping."""
    return cast("Message", cast("Any", message)._replace(headers=_NO_HEADERS, raw_headers=()))
