"""Honest clients: tabs over one cookie jar (or processes over one file), with a time limit, retries and bad luck."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from bench.simulation.gateways import Access, Answer, Gateway, Kind
from bench.simulation.world import Action, Network, World
from gateway.risk.facts import ClientFacts

TIME_LIMIT = 10.0  # a client gives up on a refresh after this; W is twice that
DEVICE = ClientFacts("203.0.113.1", "203.0.113.0/24", "Firefox", "Firefox on Linux")
PREFIXES = 6


@dataclass(frozen=True, slots=True)
class Habits:
    """One kind of honest client. Times in seconds, rates as means.

    `shared_access`: tabs share the access token (a client's lock, session mode). `receipts`: use of an access token can
    be a receipt. `flush`: how long a new cookie takes to the disk. `crashes`: mean awake time between crashes.
    `awake`, `asleep`: means of one stretch each; without `awake` the client never sleeps.
    """

    tabs: int = 5
    body: bool = False
    shared_access: bool = False
    receipts: bool = True
    calls: float = 45.0
    flush: float = 30.0
    crashes: float | None = None
    awake: float | None = None
    asleep: float = 0.0
    skew: float = 0.0
    network: Network = field(default_factory=Network)


@dataclass(slots=True)
class Tally:
    """What honest users suffered. `expired`: log-ins that reached their limit, which is nobody's fault."""

    log_outs: int = 0
    expired: int = 0
    ended_user: int = 0
    challenges: int = 0
    alarms: int = 0
    refreshes: int = 0
    conflicts: int = 0

    def add(self, other: Tally) -> None:
        """Sum up."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Browser:
    """One client: a jar in memory, what of it is on disk, and the tabs that use it."""

    def __init__(self, world: World, habits: Habits, make: Callable[[], Gateway], *, keep: bool = False) -> None:
        self.world = world
        self.habits = habits
        self.facts = DEVICE
        self.tally = Tally()
        self.awake_since: float | None = 0.0
        self.awake_before = 0.0
        self.life = 0  # grows whenever what is in flight is lost: crash, sleep, log-in
        self.access: Access | None = None
        self.refreshing: Tab | None = None
        self.on_send: Action | None = None  # what a thief that watches does when a refresh is about to leave
        self._make = make
        self._keep = keep  # stop at the first end of the session instead of logging in again
        self._flushing = False
        self.tabs = [Tab(self) for _ in range(habits.tabs)]
        self.log_in()
        for tab in self.tabs:
            tab.later(world.random.uniform(0.0, habits.calls))
        if habits.awake is not None:
            world.after(world.random.expovariate(1 / habits.awake), self._sleep)
        if habits.crashes is not None:
            world.after(world.random.expovariate(1 / habits.crashes), self._crash)
        if habits.network.roams is not None:
            world.after(world.random.expovariate(1 / habits.network.roams), self._roam)

    def log_in(self) -> None:
        """A new session; every tab has its access token."""
        self.gateway = self._make()
        answer = self.gateway.log_in(self.facts, self.world.now)
        self.jar = self.disk = answer.token or 0
        self._forget(answer.access)

    def awake_time(self) -> float:
        """Seconds awake so far."""
        running = self.world.now - self.awake_since if self.awake_since is not None else 0.0
        return self.awake_before + running

    def store(self, token: int) -> None:
        """Set-Cookie, or the file of the processes, where the highest wins."""
        self.jar = max(self.jar, token) if self.habits.body else token
        if self.habits.flush <= 0.0:
            self.disk = self.jar
        elif not self._flushing:
            self._flushing = True
            life = self.life
            self.world.after(self.habits.flush, lambda: self._flush(life))

    def lose(self, kind: Kind) -> None:
        """The session is over for this client: count it, log in again."""
        record = self.gateway.record
        if kind is Kind.CHALLENGED:
            self.tally.challenges += 1
        elif record.caught is None:
            self.tally.expired += 1
        else:
            self.tally.log_outs += 1
            self.tally.ended_user += record.ended_user
        if self._keep:
            record.catch(self.world.now)
            self.world.stopped = True
            return
        self.close()
        self.log_in()

    def close(self) -> None:
        """Count what a session leaves behind."""
        self.tally.alarms += self.gateway.record.alarms

    def roamed(self) -> None:
        """Perhaps another network: a message was lost."""
        if self.habits.network.roams is not None and self.world.random.random() < 0.5:
            self._move()

    def _flush(self, life: int) -> None:
        self._flushing = False
        if life == self.life or self.habits.crashes is None:
            self.disk = self.jar

    def _forget(self, access: Access | None) -> None:
        self.life += 1
        self._flushing = False
        self.refreshing = None
        self.access = access
        for tab in self.tabs:
            tab.access = access
            tab.attempt += 1
            tab.tries = 0
            tab.busy = False

    def _crash(self) -> None:
        random = self.world.random
        assert self.habits.crashes is not None
        self.world.after(random.expovariate(1 / self.habits.crashes), self._crash)
        if self.awake_since is None:
            return
        self.jar = self.disk
        self._forget(None)
        # Most restart at once, some after lunch.
        restart = random.uniform(5.0, 120.0) if random.random() < 0.9 else random.uniform(120.0, 3600.0)
        for tab in self.tabs:
            tab.later(restart + random.uniform(0.0, 3.0))

    def _sleep(self) -> None:
        random = self.world.random
        self.awake_before = self.awake_time()
        self.awake_since = None
        kept = [(tab, tab.access) for tab in self.tabs]
        shared = self.access
        self._forget(None)
        self.disk = self.jar
        self.access = shared
        for tab, access in kept:
            tab.access = access
        self.world.after(random.expovariate(1 / self.habits.asleep), self._wake)

    def _wake(self) -> None:
        random = self.world.random
        self.awake_since = self.world.now
        for tab in self.tabs:
            tab.later(random.uniform(0.0, 2.0))
        assert self.habits.awake is not None
        self.world.after(random.expovariate(1 / self.habits.awake), self._sleep)

    def _roam(self) -> None:
        assert self.habits.network.roams is not None
        self.world.after(self.world.random.expovariate(1 / self.habits.network.roams), self._roam)
        self._move()

    def _move(self) -> None:
        prefix = self.world.random.randrange(PREFIXES)
        self.facts = replace(DEVICE, address=f"198.51.{prefix}.1", network=f"198.51.{prefix}.0/24")


class Tab:
    """One tab or process: calls now and then, refreshes when its access token is over or refused."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self.access: Access | None = None
        self.attempt = 0  # answers to earlier attempts are aborted and change nothing
        self.tries = 0
        self.busy = False
        self._turn = 0

    def later(self, delay: float) -> None:
        """Act in `delay` seconds, and not at what was planned before."""
        self._turn += 1
        turn = self._turn
        self.browser.world.after(delay, lambda: self._act() if turn == self._turn else None)

    def _act(self) -> None:
        browser = self.browser
        if browser.awake_since is None:
            return
        world, habits = browser.world, browser.habits
        if not self.busy:
            access = browser.access if habits.shared_access else self.access
            skew = world.random.choice((-habits.skew, habits.skew)) if habits.skew else 0.0
            if (
                access is None
                or access.expires_at - 5.0 <= world.now
                or not browser.gateway.use(access, world.now + skew, receipt=habits.receipts)
            ):
                self._begin()
        self.later(world.random.expovariate(1 / habits.calls))

    def _begin(self) -> None:
        browser = self.browser
        if browser.habits.shared_access:
            if browser.refreshing is not None:
                return
            browser.refreshing = self
        self.busy = True
        self.tries = 0
        self._send()

    def _send(self) -> None:
        browser = self.browser
        world, network = browser.world, browser.habits.network
        self.attempt += 1
        attempt, life, gateway = self.attempt, browser.life, browser.gateway
        token, facts = browser.jar, browser.facts  # the cookie goes out as the jar is now
        browser.tally.refreshes += 1
        if browser.on_send is not None:
            browser.on_send()
        delay = network.delay(world.random)
        if delay is None:
            browser.roamed()
        else:
            world.after(delay, lambda: self._arrive(gateway, token, facts, life, attempt))
        world.after(TIME_LIMIT, lambda: self._give_up(life, attempt))

    def _arrive(self, gateway: Gateway, token: int, facts: ClientFacts, life: int, attempt: int) -> None:
        world, network = self.browser.world, self.browser.habits.network
        waited = network.wait(world.random)
        if waited > 0.0:
            world.after(waited, lambda: self._decide(gateway, token, facts, life, attempt, waited))
        else:
            self._decide(gateway, token, facts, life, attempt, 0.0)

    def _decide(self, gateway: Gateway, token: int, facts: ClientFacts, life: int, attempt: int, waited: float) -> None:
        world, network = self.browser.world, self.browser.habits.network
        answer = gateway.refresh(token, facts, world.now, waited, "victim")
        if world.random.random() < network.lost_answers:
            self.browser.roamed()
            return
        world.after(network.latency(world.random), lambda: self._answered(answer, life, attempt))

    def _current(self, life: int, attempt: int) -> bool:
        return life == self.browser.life and attempt == self.attempt and self.busy

    def _answered(self, answer: Answer, life: int, attempt: int) -> None:
        if not self._current(life, attempt):
            return
        browser = self.browser
        if answer.kind is Kind.OK:
            if answer.token is not None:
                browser.store(answer.token)
            self.access = browser.access = answer.access
            self._done()
            self.later(0.0)  # the call that needed it
        elif answer.kind is Kind.SUPERSEDED:
            browser.tally.conflicts += 1
            self._again(life, attempt)
        else:
            browser.lose(answer.kind)

    def _give_up(self, life: int, attempt: int) -> None:
        if self._current(life, attempt):
            self._again(life, attempt)

    def _again(self, life: int, attempt: int) -> None:
        self.attempt += 1
        attempt = self.attempt
        self.tries += 1
        pause = min(15.0, 0.5 * 2**self.tries) * self.browser.world.random.uniform(0.8, 1.2)
        self.browser.world.after(pause, lambda: self._send() if self._current(life, attempt) else None)

    def _done(self) -> None:
        self.busy = False
        if self.browser.refreshing is self:
            self.browser.refreshing = None
