"""What every ordinary aiohttp application of the gateway does around its handlers."""

from __future__ import annotations

import traceback
from types import TracebackType
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from gateway.errors import (
    GatewayError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    StoreUnavailable,
)
from gateway.events import Event, EventSink, Level, Name
from gateway.risk.facts import RequestContext
from gateway.web.context import CONTEXT, RequestContexts
from gateway.web.problem import render
from gateway.web.request_id import HEADER

SERVER: Final = "gateway"  # not what it is written in, and in which version
_MAX_FRAMES: Final = 20


def answers(contexts: RequestContexts, events: EventSink) -> Middleware:
    """The middleware that gives each request its context and turns whatever is raised into a problem."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        context = request.get(CONTEXT)
        if context is None:
            context = request[CONTEXT] = contexts.of(request)
        response: web.StreamResponse
        try:
            response = await handler(request)
        except GatewayError as error:
            _report(error, context, events)
            response = problem_response(error, context.request_id)
        except web.HTTPException as error:
            response = problem_response(_translated(error), context.request_id)
        except Exception as error:  # noqa: BLE001 - the last line: it is reported, and answered as a problem
            events.emit(_failed(error, context, request.method))
            response = problem_response(GatewayError(), context.request_id)
        response.headers[HEADER] = context.request_id
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers["Server"] = SERVER
        return response

    return middleware


def problem_response(error: GatewayError, request_id: str) -> web.Response:
    """`render` as an aiohttp response."""
    rendered = render(error, request_id)
    return web.Response(status=rendered.status, headers=list(rendered.headers), body=rendered.body)


def _translated(error: web.HTTPException) -> GatewayError:
    """The framework's own refusals in the gateway's words."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        return MethodNotAllowed(tuple(sorted(error.allowed_methods)))
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return PayloadTooLarge()
    return NotFound() if error.status == 404 else InvalidRequest(debug=error.reason)


def _report(error: GatewayError, context: RequestContext, events: EventSink) -> None:
    """A store that fails is the operator's affair; so is an error that should have been caught below."""
    if isinstance(error, StoreUnavailable):
        fields = {"reason": error.debug or error.title}
        events.emit(Event(Name.STORE_FAILED, Level.ERROR, request_id=context.request_id, fields=fields))
    elif error.status == 500:
        events.emit(_failed(error, context, None))


def _failed(error: Exception, context: RequestContext, method: str | None) -> Event:
    """Type and place, never the message or a value: those may hold what must not be logged."""
    fields: dict[str, object] = {"exception.type": type(error).__qualname__, "exception.stacktrace": _frames(error)}
    if method is not None:
        fields["http.request.method"] = method
    return Event(Name.REQUEST_FAILED, Level.ERROR, context.request_id, address=context.facts.address, fields=fields)


def _frames(error: Exception) -> str:
    trace: TracebackType | None = error.__traceback__
    frames = traceback.extract_tb(trace)[-_MAX_FRAMES:]
    return " < ".join(f"{frame.name}:{frame.lineno} {frame.filename.rsplit('/', 1)[-1]}" for frame in reversed(frames))
