"""The life of signing keys, with one process and with several."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from support.clock import FrozenClock
from support.tokens import AUDIENCE, ISSUER, make_claims, master_keys

from gateway.errors import InvalidToken, StoreBusy, StoreUnavailable
from gateway.events import Event, Level, Name
from gateway.stores.memory.database import MemoryDatabase
from gateway.stores.memory.keys import MemoryKeys
from gateway.tokens.access_token import AccessTokenIssuer, AccessTokenVerifier
from gateway.tokens.key_service import LINGER, PROPAGATION, PUBLISH_AHEAD, KeyService, KeyState
from gateway.tokens.keys import Algorithm
from gateway.tokens.ports import StoredKey

DAY = 86_400.0
TTL = 900.0


class Sink:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def reasons(self, name: Name = Name.KEYS_ROTATED) -> list[str]:
        return [str(event.fields["reason"]) for event in self.events if event.name is name]


class World:
    """One store, one clock, any number of processes."""

    def __init__(self) -> None:
        self.clock = FrozenClock()
        self.store = MemoryKeys(MemoryDatabase(self.clock))
        self.sink = Sink()

    def service(
        self,
        *master: int,
        algorithm: str = "EdDSA",
        period: float | None = 30 * DAY,
        clock: FrozenClock | None = None,
    ) -> KeyService:
        return KeyService(self.store, master_keys(*master), clock or self.clock, algorithm, period, TTL, self.sink)

    async def loaded(self, *master: int, algorithm: str = "EdDSA", period: float | None = 30 * DAY) -> KeyService:
        service = self.service(*master, algorithm=algorithm, period=period)
        await service.load()
        return service

    def signer(self, service: KeyService) -> str:
        return service.ring.signing(self.clock.now()).kid

    def token(self, service: KeyService) -> bytes:
        return AccessTokenIssuer(service.ring, ISSUER, AUDIENCE).issue(make_claims(self.clock)).encode()

    def accepts(self, service: KeyService, token: bytes) -> bool:
        try:
            AccessTokenVerifier(service.ring, ISSUER, AUDIENCE, self.clock).verify(token)
        except InvalidToken:
            return False
        return True

    async def alter(self, kid: str, **changes: object) -> None:
        self.store._keys = [replace(k, **changes) if k.kid == kid else k for k in self.store._keys]  # type: ignore[arg-type]

    async def states(self, service: KeyService) -> list[KeyState]:
        return [entry.state for entry in await service.report()]


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize("algorithm", list(Algorithm))
async def test_the_first_key_is_made_and_signs_at_once(world: World, algorithm: str) -> None:
    service = await world.loaded(algorithm=algorithm)
    (row,) = await world.store.list_keys()
    assert (row.algorithm, row.active_from, row.retired_at) == (algorithm, world.clock.now(), None)
    assert world.signer(service) == row.kid
    assert world.accepts(service, world.token(service))
    assert world.sink.reasons() == ["first"]


async def test_the_private_key_is_sealed_in_the_store(world: World) -> None:
    service = await world.loaded()
    (row,) = await world.store.list_keys()
    der = service.ring.signing(0).private_der()
    assert der[-32:] not in row.sealed
    assert row.master_kid == 1
    assert "d" not in row.public_jwk.split('"')


async def test_a_restart_finds_the_same_key(world: World) -> None:
    first = await world.loaded()
    second = await world.loaded()
    assert world.signer(first) == world.signer(second)
    assert world.accepts(second, world.token(first))
    assert len(await world.store.list_keys()) == 1


async def test_processes_that_start_together_make_one_key(world: World) -> None:
    services = [world.service() for _ in range(6)]
    await asyncio.gather(*(service.load() for service in services))
    assert len(await world.store.list_keys()) == 1
    assert len({world.signer(service) for service in services}) == 1
    assert world.sink.reasons() == ["first"]


async def test_scheduled_rotation_publishes_then_signs_then_forgets(world: World) -> None:
    service = await world.loaded()
    old = world.signer(service)
    world.clock.advance(30 * DAY - PUBLISH_AHEAD - 1)
    await service.refresh_if_due()
    assert len(service.ring.keys) == 1

    world.clock.advance(1)
    await service.refresh_if_due()
    assert len(service.ring.keys) == 2
    assert world.signer(service) == old
    assert await world.states(service) == [KeyState.SIGNING, KeyState.PUBLISHED]

    world.clock.advance(PUBLISH_AHEAD - 1)
    last = world.token(service)
    world.clock.advance(1)
    new = world.signer(service)
    assert new != old
    assert await world.states(service) == [KeyState.RETIRED, KeyState.SIGNING]

    world.clock.advance(TTL - 2)
    await service.refresh_if_due()
    assert world.accepts(service, last)

    world.clock.advance(LINGER + 2)
    await service.refresh_if_due()
    assert [key.pair.kid for key in service.ring.keys] == [new]
    assert [row.kid for row in await world.store.list_keys()] == [new]
    assert world.sink.reasons() == ["first", "schedule"]


async def test_processes_that_rotate_together_make_one_key_and_notice_it(world: World) -> None:
    services = [await world.loaded() for _ in range(4)]
    world.clock.advance(30 * DAY)
    await asyncio.gather(*(service.refresh_if_due() for service in services))
    assert len(await world.store.list_keys()) == 2
    assert len({service.ring.keys[0].pair.kid for service in services}) == 1
    world.clock.advance(PUBLISH_AHEAD)
    token = world.token(services[0])
    assert all(world.accepts(service, token) for service in services)


async def test_a_short_period_overlaps_by_half(world: World) -> None:
    service = await world.loaded(period=60.0)
    old = world.signer(service)
    world.clock.advance(30.0)
    await service.refresh_if_due()
    assert world.signer(service) == old
    world.clock.advance(30.0)
    assert world.signer(service) != old


@pytest.mark.parametrize("period", [None, 0.0])
async def test_no_period_means_no_schedule(world: World, period: float | None) -> None:
    service = await world.loaded(period=period)
    world.clock.advance(3650 * DAY)
    await service.refresh_if_due()
    assert len(service.ring.keys) == 1


async def test_rotation_by_command_waits_for_caches(world: World) -> None:
    service, other = await world.loaded(), await world.loaded()
    old = world.signer(service)
    row = await service.rotate()
    assert row.active_from == world.clock.now() + PUBLISH_AHEAD
    assert world.signer(service) == old
    await other.refresh_if_due()
    world.clock.advance(PUBLISH_AHEAD)
    assert world.signer(service) == world.signer(other) == row.kid
    assert world.sink.reasons() == ["first", "command"]


async def test_rotation_soon_overtakes_one_that_waits(world: World) -> None:
    service = await world.loaded()
    old = world.signer(service)
    waiting = await service.rotate()
    row = await service.rotate(soon=True)
    assert row.active_from == world.clock.now() + PROPAGATION
    assert world.signer(service) == old
    world.clock.advance(PROPAGATION)
    assert world.signer(service) == row.kid
    world.clock.advance(PUBLISH_AHEAD)
    assert world.signer(service) == row.kid != waiting.kid
    assert await world.states(service) == [KeyState.RETIRED, KeyState.RETIRED, KeyState.SIGNING]


async def test_rotation_by_command_in_an_empty_store_signs_at_once(world: World) -> None:
    row = await world.service().rotate()
    assert row.active_from == world.clock.now()


async def test_withdrawing_kills_every_token_at_once_everywhere(world: World) -> None:
    service, other = await world.loaded(), await world.loaded()
    token = world.token(service)
    row = await service.rotate(withdraw=True)
    await other.refresh_if_due()
    for process in (service, other):
        assert not world.accepts(process, token)
        assert world.signer(process) == row.kid
        assert world.accepts(process, world.token(service))
    assert [key.kid for key in await world.store.list_keys()] == [row.kid]


async def test_a_new_algorithm_makes_a_new_key_at_the_next_start(world: World) -> None:
    before = await world.loaded()
    token = world.token(before)
    after = await world.loaded(algorithm="ES256")
    assert world.accepts(after, token)
    world.clock.advance(PUBLISH_AHEAD)
    assert after.ring.signing(world.clock.now()).algorithm == "ES256"
    assert world.accepts(after, token)
    assert world.sink.reasons() == ["first", "algorithm"]


async def test_processes_with_different_algorithms_do_not_fight(world: World) -> None:
    old, new = await world.loaded(), await world.loaded(algorithm="ES256")
    for _ in range(5):
        await old.refresh_if_due()
        await new.refresh_if_due()
        world.clock.advance(60.0)
    assert len(await world.store.list_keys()) == 2


async def test_a_new_master_key_seals_a_new_signing_key_at_the_next_start(world: World) -> None:
    before = await world.loaded(1)
    token = world.token(before)
    after = await world.loaded(1, 2)
    assert world.accepts(after, token)
    assert [row.master_kid for row in await world.store.list_keys()] == [1, 2]
    assert len(await world.store.list_keys()) == 2
    await world.loaded(1, 2)
    assert len(await world.store.list_keys()) == 2
    assert world.sink.reasons() == ["first", "master_key"]


async def test_a_withdrawn_master_key_takes_its_signing_keys_along(world: World) -> None:
    before = await world.loaded(1)
    token = world.token(before)
    after = await world.loaded(2)
    assert not world.accepts(after, token)
    assert world.accepts(after, world.token(after))
    assert await world.states(after) == [KeyState.UNREADABLE, KeyState.SIGNING]
    assert world.sink.reasons() == ["first", "unreadable"]
    assert world.sink.reasons(Name.STORE_FAILED) == ["master_key_missing"]


async def test_a_key_somebody_wrote_into_the_store_neither_signs_nor_verifies(world: World) -> None:
    service = await world.loaded()
    attacker = World()
    theirs = await attacker.loaded()
    (planted,) = await attacker.store.list_keys()
    stranger = master_keys(7)
    sealed = stranger.seal(theirs.ring.signing(0).private_der(), b"signing-key:" + planted.kid.encode())[1]
    (own,) = await world.store.list_keys()
    await world.store.put_key(replace(planted, sealed=sealed), retire=own.kid, at=world.clock.now() + 5)
    await service.refresh_if_due()
    assert not world.accepts(service, attacker.token(theirs))
    assert [event.level for event in world.sink.events if event.name is Name.STORE_FAILED] == [Level.ERROR]
    await service.refresh_if_due()
    assert world.sink.reasons(Name.STORE_FAILED) == ["signing_key_altered"]

    world.clock.advance(5)
    await service.refresh_if_due()
    world.clock.advance(PROPAGATION)
    assert world.signer(service) not in (own.kid, planted.kid)
    assert world.accepts(service, world.token(service))


async def test_a_sealed_key_under_another_rows_name_or_algorithm_does_not_open(world: World) -> None:
    service = await world.loaded()
    (row,) = await world.store.list_keys()
    for changes in ({"kid": "other"}, {"algorithm": "ES256"}, {"algorithm": "none"}, {"sealed": b""}):
        fresh = world.service()
        world.store._keys = [replace(row, **changes)]  # type: ignore[arg-type]
        assert await world.states(fresh) == [KeyState.UNREADABLE]
        assert fresh.ring.keys == ()
    world.store._keys = [row]
    assert await world.states(service) == [KeyState.SIGNING]


async def test_a_key_deleted_by_hand_is_refused_after_the_next_look(world: World) -> None:
    service = await world.loaded()
    token = world.token(service)
    (row,) = await world.store.list_keys()
    await world.store.delete_key(row.kid)
    await service.refresh_if_due()
    assert not world.accepts(service, token)
    assert world.accepts(service, world.token(service))


async def test_a_process_whose_clock_is_behind_signs_with_the_first_key(world: World) -> None:
    ahead = FrozenClock(world.clock.now() + 3)
    await world.service(clock=ahead).load()
    service = await world.loaded()
    assert len(await world.store.list_keys()) == 1
    assert world.accepts(service, world.token(service))


async def test_the_report_changes_nothing(world: World) -> None:
    assert await world.service().report() == ()
    assert await world.store.list_keys() == ()


async def test_report_where_no_key_can_sign(world: World) -> None:
    await world.loaded()
    (row,) = await world.store.list_keys()
    await world.alter(row.kid, active_from=world.clock.now() + 20, retired_at=world.clock.now() + 10)
    assert await world.states(world.service()) == [KeyState.RETIRED]


async def test_a_store_that_fails_leaves_the_ring_as_it_was(world: World) -> None:
    service = await world.loaded()
    token = world.token(service)
    world.store._db._closed = True
    with pytest.raises(StoreUnavailable):
        await service.refresh_if_due()
    assert world.accepts(service, token)


async def test_rotation_without_an_event_sink(world: World) -> None:
    service = KeyService(world.store, master_keys(), world.clock, "EdDSA", None, TTL)
    await service.load()
    assert len(service.ring.keys) == 1


async def test_a_new_key_that_vanishes_at_once_is_reported(world: World) -> None:
    class Forgetful(MemoryKeys):
        async def put_key(self, key: StoredKey, *, retire: str | None, at: float) -> bool:
            return True

    service = KeyService(Forgetful(MemoryDatabase(world.clock)), master_keys(), world.clock, "EdDSA", None, TTL)
    with pytest.raises(StoreBusy):
        await service.rotate()
