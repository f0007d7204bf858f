"""/admin/keys: the keys that sign access tokens. What they are made of stays where it is."""

from __future__ import annotations

from aiohttp import web

from gateway.admin_api.queries import read_query
from gateway.admin_api.services import SERVICES
from gateway.errors import StoreBusy
from gateway.tokens.key_service import KeyReport
from gateway.web.answers import json_response, timestamp
from gateway.web.bodies import read_body


async def list_keys(request: web.Request) -> web.Response:
    """Every signing key, oldest first."""
    read_query(request)
    return json_response({"keys": [_members(report) for report in await request[SERVICES].keys.report()]})


async def rotate(request: web.Request) -> web.Response:
    """Make a new key; `soon` and `withdraw` as on the command line."""
    read_query(request)
    services = request[SERVICES]
    body = await read_body(request, services, optional=True)
    soon, withdraw = bool(body.optional_flag("soon")), bool(body.optional_flag("withdraw"))
    made = await services.keys.rotate(soon=soon, withdraw=withdraw)
    report = next((report for report in await services.keys.report() if report.row.kid == made.kid), None)
    if report is None:
        raise StoreBusy(debug="the new signing key was deleted at once by another process")
    return json_response(_members(report))


def _members(report: KeyReport) -> dict[str, object]:
    row = report.row
    return {
        "kid": row.kid,
        "algorithm": row.algorithm,
        "state": report.state,
        "created_at": timestamp(row.created_at),
        "signs_from": timestamp(row.active_from),
        "retired_at": None if row.retired_at is None else timestamp(row.retired_at),
        "master_key": row.master_kid,
    }
