"""Gateway processes for tests of faults: a route that is strict about revocation, the user ada, honest windows."""

from __future__ import annotations

import base64
import os
from typing import Any

from support.ledger import HONEST
from support.process import PASSWORD, Answer, Fleet, GatewayProcess


def on_postgres(fleet: Fleet, url: str, *, workers: int = 2, **sections: Any) -> GatewayProcess:
    """Served from this database, with a master key of its own."""
    key = fleet.database.with_suffix(".key")
    key.write_text("1:" + base64.b64encode(os.urandom(32)).decode() + "\n")
    key.chmod(0o600)
    storage = {"database": url, "master_key_file": str(key), **sections.pop("storage", {})}
    return on_sqlite(fleet, workers=workers, storage=storage, **sections)


def on_sqlite(fleet: Fleet, *, workers: int = 2, **sections: Any) -> GatewayProcess:
    """Served from the fleet's own file. No access log: it would be read over and over."""
    to = {"upstream": fleet.upstream.url}
    routes = [
        {"name": "api", "match": {"path": "/api/"}, **to},
        {"name": "strict", "match": {"path": "/strict/"}, "revocation": "strict", **to},
        {"name": "public", "match": {"path": "/public/"}, "auth": "none", **to},
    ]
    common: dict[str, Any] = {"sessions": HONEST, "routes": routes, **sections}
    path = fleet.configure("users.yaml", **common)
    added = fleet.command("users", "add", "ada", "--password-stdin", "--config", str(path), stdin=PASSWORD)
    assert added.returncode == 0, added.stderr
    server = {"workers": workers, "cpu_affinity": False, **sections.pop("server", {})}
    return fleet.serve(**(common | {"server": server, "logging": {"access_log": False}}))


def turned_away(answer: Answer) -> bool:
    """503, and when to come again."""
    if answer.status != 503 or int(answer.header("Retry-After") or 0) < 1:
        return False
    return answer.error == "temporarily_unavailable"
