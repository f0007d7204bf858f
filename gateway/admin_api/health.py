"""Probes: /livez says the process turns, /readyz that requests would be served properly; and /metrics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from aiohttp import web

from gateway.admin_api.exposition import Snapshot, metrics_handler

_NO_STORE: Final = {"Cache-Control": "no-store"}
_JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Check:
    """`problem`: one clause that says what is wrong, None when nothing is; `detail`: what was found, for people."""

    problem: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What `/readyz` says: every check by its name, and what is no reason to send requests elsewhere."""

    checks: Mapping[str, Check]
    information: Mapping[str, str] = field(default_factory=dict)

    @property
    def failed(self) -> list[str]:
        """The checks that do not pass."""
        return [name for name, check in self.checks.items() if check.problem is not None]


Readiness = Callable[[], Awaitable[Report]]


def build_admin(readiness: Readiness, snapshot: Snapshot) -> web.Application:
    """The admin application. `snapshot` is what /metrics shows."""

    async def live(_: web.Request) -> web.Response:
        return web.Response(text="ok\n", headers=_NO_STORE)

    async def ready(request: web.Request) -> web.Response:
        report = await readiness()
        status, verbose = 503 if report.failed else 200, "verbose" in request.query
        if _wants_json(request.headers.get("Accept", "")):
            body = orjson.dumps(_document(report, verbose=verbose), option=orjson.OPT_APPEND_NEWLINE)
            return web.Response(status=status, body=body, content_type=_JSON, headers=_NO_STORE)
        text = "".join(f"{line}\n" for line in _lines(report, verbose=verbose))
        return web.Response(status=status, text=text, headers=_NO_STORE)

    app = web.Application()
    app.router.add_get("/livez", live)
    app.router.add_get("/readyz", ready)
    app.router.add_get("/metrics", metrics_handler(snapshot))
    return app


def _lines(report: Report, *, verbose: bool) -> Iterator[str]:
    if verbose:
        for name, check in report.checks.items():
            detail = f" ({check.detail})" if check.detail else ""
            yield f"{name}: {check.problem or 'ok' + detail}"
        for name, text in report.information.items():
            yield f"{name}: {text}"
    yield f"not ready: {', '.join(report.failed)}" if report.failed else "ready"


def _document(report: Report, *, verbose: bool) -> dict[str, Any]:
    document: dict[str, Any] = {"ready": not report.failed, "failed": report.failed}
    if verbose:
        document["checks"] = {
            name: {"ok": check.problem is None, "detail": check.problem or check.detail}
            for name, check in report.checks.items()
        }
        document["information"] = dict(report.information)
    return document


def _wants_json(accept: str) -> bool:
    """Whether JSON is named before anything that plain text would satisfy."""
    for part in accept.lower().split(","):
        kind, *parameters = (text.strip() for text in part.split(";"))
        if any(parameter.partition("=")[0] == "q" and not _weight(parameter) for parameter in parameters):
            continue
        if kind in (_JSON, "text/plain", "text/*", "*/*"):
            return kind == _JSON
    return False


def _weight(parameter: str) -> float:
    try:
        return float(parameter.partition("=")[2])
    except ValueError:
        return 0.0
