"""What clients were told, kept to hold the gateway to it: through any fault, an acknowledged answer stands.

No acknowledged rotation is undone, none has a second successor, no session that should live is logged out, none that
should be dead is alive, valid tokens are served throughout, and whoever is turned away is told when to come again.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gateway.clock import SystemClock
from gateway.stores.factory import open_stores
from support.leaks import WATCH
from support.process import AGENT, PASSWORD, Answer, GatewayProcess, until

REFUSED_WITHIN = 2.0
"""Seconds after the answer to a log-out until no worker serves the session any more; the goal is one, on idle cores."""
HONEST = {"in_flight_window": "20s", "late_window": "3m", "receipt_after": "1s"}
"""The windows of rotation that clients of a ledger need: with none, every retry is theft."""
_PATIENCE = 30.0
"""Seconds; password hashes have the lowest priority, and on a busy machine they wait."""
_CALLS = 3
_PAUSE = 0.02
"""Seconds a client has nothing to do between two refreshes: or no core would be left for passwords."""
_REFRESHES = 4


@dataclass
class Holding:
    """A session as its client knows it. `ending`: a log-out was sent; `ended_at`: and acknowledged (monotonic)."""

    sid: str
    access: str
    token: str
    refreshes: int = 0
    unheard: bool = False
    ending: bool = False
    ended_at: float | None = None

    @property
    def generation(self) -> int:
        return generation(self.token)


class Ledger:
    """Every acknowledged answer; `wrong` is what contradicts one. `torn` are the client ports of broken connections."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.counts: Counter[str] = Counter()
        self.torn: list[int] = []
        self.errors: Counter[str] = Counter()
        self.holdings: list[Holding] = []
        self._tokens: dict[tuple[str, int], str] = {}
        self._deaf_since: float | None = None
        self._lock = threading.Lock()

    def count(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1

    def grows(self, *whats: str, by: int = 1) -> None:
        """Wait until more of each was acknowledged."""
        before = Counter(self.counts)

        deadline = time.monotonic() + _PATIENCE
        while not self.wrong and any(self.counts[what] < before[what] + by for what in whats):
            assert time.monotonic() < deadline, f"more of {whats} never came: {before} → {self.counts}, {self.errors}"
            time.sleep(0.02)
        assert self.wrong == []

    @contextlib.contextmanager
    def deaf(self) -> Iterator[None]:
        """While workers cannot hear of revocations, those told just before may not be in force on all of them."""
        self._deaf_since = time.monotonic()
        try:
            yield
        finally:
            self._deaf_since = None

    def told(self, holding: Holding) -> None:
        """A refresh token was handed out."""
        key = holding.sid, holding.generation
        with self._lock:
            if self._tokens.setdefault(key, holding.token) != holding.token:
                self.wrong.append(f"a second successor of {key}")

    def contradicted(self, what: str, answer: Answer) -> None:
        with self._lock:
            self.wrong.append(f"{what}: {answer.status} {answer.body[:200]!r}")

    def dead(self) -> list[Holding]:
        """Sessions that every worker must refuse by now."""
        latest = min(time.monotonic(), self._deaf_since or float("inf")) - REFUSED_WITHIN
        return [one for one in list(self.holdings) if one.ended_at is not None and one.ended_at < latest]

    def settle(self, gateway: GatewayProcess) -> None:
        """After the fault: everything that was acknowledged holds, as any client sees it."""
        assert self.wrong == []
        for holding in self.holdings:
            if holding.ended_at is not None:
                until(lambda: gateway.call(holding.access).status == 401, "the refusal", seconds=5)  # noqa: B023
                assert gateway.refresh(holding.token).error == "invalid_grant"
            elif not holding.ending:
                before = holding.generation
                answer = gateway.refresh(holding.token)
                assert answer.status == 200, answer.body
                holding.token, holding.access = answer.json["refresh_token"], answer.json["access_token"]
                self.told(holding)
                assert holding.generation == before + 1
                holding.unheard = False
                assert gateway.call(holding.access).status == 200
        assert self.wrong == []
        assert gateway.events("session.refresh_reused") == []
        assert [e for e in gateway.events("session.suspicious") if "store_behind" in str(e)] == []

    async def stands(self, url: str) -> None:
        """The rows of the database say what clients were told."""
        stores = await open_stores(url, clock=SystemClock(), busy_timeout=5.0)
        try:
            for holding in self.holdings:
                row = await stores.sessions.get(holding.sid)
                assert row is not None
                assert row.generation - holding.generation in ((0, 1) if holding.unheard else (0,)), row
                assert holding.ending or row.revoked_at is None, row
                assert holding.ended_at is None or row.revoked_at is not None, row
        finally:
            await stores.database.close()


def generation(token: str) -> int:
    """The generation a refresh token is of."""
    raw = base64.urlsafe_b64decode(token.removeprefix("gwr_") + "==")
    return int.from_bytes(raw[17:21], "big")


class Visitor:
    """One client on a kept connection: logs in, calls, refreshes and, if it `leaves`, logs out, over and over."""

    def __init__(self, ledger: Ledger, port: int, stop: threading.Event, *, leaves: bool) -> None:
        self._ledger = ledger
        self._leaves = leaves
        self._port = port
        self._stop = stop
        self._connection: http.client.HTTPConnection | None = None
        self._local = 0
        self.thread = threading.Thread(target=self._live, daemon=True)

    def _live(self) -> None:
        holding: Holding | None = None
        while not self._stop.is_set():
            if holding is None:
                holding = self._log_in()
            elif self._stop.wait(_PAUSE):
                break
            elif holding.ending or (self._leaves and holding.refreshes >= _REFRESHES):
                holding = self._log_out(holding)
            else:
                for _ in range(_CALLS):
                    self._call(holding)
                self._refresh(holding)
            for dead in self._ledger.dead()[-2:]:
                answer = self._ask("GET", "/api/dead", bearer=dead.access)
                if answer is not None and answer.status != 401:
                    self._ledger.contradicted(
                        f"a session that ended {time.monotonic() - dead.ended_at:.1f} s ago", answer
                    )  # type: ignore[operator]
        self._hang_up()

    def _log_in(self) -> Holding | None:
        members = {"username": "ada", "password": PASSWORD, "token_delivery": "body"}
        answer = self._ask("POST", "/auth/login", members)
        if not self._heard(answer, "log-in"):
            return None
        assert answer is not None
        made = answer.json
        holding = Holding(made["session_id"], made["access_token"], made["refresh_token"])
        self._ledger.holdings.append(holding)
        self._ledger.told(holding)
        return holding

    def _call(self, holding: Holding) -> None:
        answer = self._ask("GET", "/api/x", bearer=holding.access)
        if answer is None or answer.status == 200:
            self._ledger.count("call" if answer is not None else "torn")
        else:
            self._ledger.contradicted("a valid token", answer)

    def _refresh(self, holding: Holding) -> None:
        answer = self._ask("POST", "/auth/refresh", {"refresh_token": holding.token})
        holding.unheard = True
        if not self._heard(answer, "refresh"):
            return
        assert answer is not None
        before, holding.unheard = holding.generation, False
        holding.token, holding.access = answer.json["refresh_token"], answer.json["access_token"]
        holding.refreshes += 1
        self._ledger.told(holding)
        if holding.generation != before + 1:
            self._ledger.contradicted(f"generation {before} became {holding.generation}", answer)

    def _log_out(self, holding: Holding) -> Holding | None:
        """Until it is acknowledged."""
        holding.ending = True
        answer = self._ask("POST", "/auth/logout", {"refresh_token": holding.token})
        if not self._heard(answer, "log-out", 204):
            return holding
        holding.ended_at = time.monotonic()
        return None

    def _heard(self, answer: Answer | None, what: str, status: int = 200) -> bool:
        """Whether this is the answer that was hoped for. 503 that says when to come again is no contradiction."""
        if answer is not None and answer.status == status:
            self._ledger.count(what)
            return True
        if answer is None:
            self._ledger.count("torn")
        elif answer.status == 503 and int(answer.header("Retry-After") or 0) >= 1:
            self._ledger.count(f"{what} refused")
            self._ledger.count("refused")
            self._stop.wait(0.05)  # a client that comes again sooner than it was told, and still not at once
        else:
            self._ledger.contradicted(what, answer)
        return False

    def _ask(self, method: str, path: str, members: object = None, *, bearer: str | None = None) -> Answer | None:
        """The answer, or None when the connection broke before it came whole."""
        headers = {"User-Agent": AGENT}
        body: bytes | None = None
        if members is not None:
            headers["Content-Type"], body = "application/json", json.dumps(members).encode()
        if bearer is not None:
            headers["Authorization"] = f"Bearer {bearer}"
        try:
            connection = self._connected()
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            answer = Answer(response.status, tuple(response.getheaders()), response.read())
        except (OSError, http.client.HTTPException) as error:
            self._ledger.torn.append(self._local)
            self._ledger.errors[repr(error)] += 1
            self._stop.wait(_PAUSE)
            self._hang_up()
            return None
        WATCH.answer(answer.status, answer.headers, answer.body, f"{method} {path}")
        return answer

    def _connected(self) -> http.client.HTTPConnection:
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_PATIENCE)
        if self._connection.sock is None:
            self._connection.connect()
            sock: Any = self._connection.sock
            self._local = sock.getsockname()[1]
        return self._connection

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


@contextlib.contextmanager
def visitors(gateway: GatewayProcess, count: int = 4) -> Iterator[Ledger]:
    """Clients while the block runs, every second one coming and going; the user is `ada`. Nothing may have been
    contradicted by then.
    """
    ledger, stop = Ledger(), threading.Event()
    made = [Visitor(ledger, gateway.port, stop, leaves=number % 2 == 0) for number in range(count)]
    for visitor in made:
        visitor.thread.start()
    try:
        yield ledger
    finally:
        stop.set()
        for visitor in made:
            visitor.thread.join(_PATIENCE + 5)
    assert ledger.wrong == []
