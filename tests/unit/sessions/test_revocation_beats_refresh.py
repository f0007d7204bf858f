"""Refresh beside log-out, revoke-all, disable, role change: whichever commits first, nothing usable is left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from support.sessions import SessionBench

from gateway.errors import GatewayError
from gateway.sessions.issued import Issued
from gateway.sessions.revocation import RevocationFollower, RevocationIndex
from gateway.sessions.session import RevokeReason

Revoke = Callable[[SessionBench, Issued], Awaitable[object]]


async def by_logout(bench: SessionBench, issued: Issued) -> object:
    return await bench.service.logout(
        refresh_token=None, channel=None, access=bench.claims(issued), ctx=bench.context()
    )


async def by_end(bench: SessionBench, issued: Issued) -> object:
    return await bench.service.end(issued.session.sid, RevokeReason.ADMIN, None)


async def by_revoke_all(bench: SessionBench, issued: Issued) -> object:
    return await bench.service.end_user(issued.user.user_id, RevokeReason.LOGOUT_ALL, bench.context())


async def by_disabling(bench: SessionBench, issued: Issued) -> object:
    bench.service.announce(await bench.stores.users.set_active(issued.user.user_id, False), None)
    return None


async def by_removing(bench: SessionBench, issued: Issued) -> object:
    bench.service.announce(await bench.stores.users.remove(issued.user.user_id), None)
    return None


async def by_password(bench: SessionBench, issued: Issued) -> object:
    bench.service.announce(await bench.stores.users.set_password(issued.user.user_id, "new"), None)
    return None


REVOCATIONS = pytest.mark.parametrize(
    "revoke", [by_logout, by_end, by_revoke_all, by_disabling, by_removing, by_password]
)


async def nothing_is_usable(bench: SessionBench, *all_issued: Issued) -> bool:
    """Neither here nor in a process that only follows the feed, neither access nor refresh tokens."""
    elsewhere = RevocationIndex()
    await RevocationFollower(bench.store, elsewhere, bench.clock).load()
    for issued in all_issued:
        claims = bench.claims(issued)
        if bench.index.denial(claims) is None or elsewhere.denial(claims) is None:
            return False
        for generation in range(1, 4):
            try:
                await bench.refresh(bench.token(issued, generation))
            except GatewayError:
                continue
            return False
    return True


@REVOCATIONS
async def test_refresh_first(revoke: Revoke) -> None:
    bench = SessionBench()
    first = await bench.login()
    bench.clock.advance(300)
    second = await bench.refresh(first.refresh_token)
    await revoke(bench, second)
    assert await nothing_is_usable(bench, first, second)


@REVOCATIONS
async def test_revocation_first(revoke: Revoke) -> None:
    bench = SessionBench()
    first = await bench.login()
    bench.clock.advance(300)
    await revoke(bench, first)
    with pytest.raises(GatewayError):
        await bench.refresh(first.refresh_token)
    assert await nothing_is_usable(bench, first)


@REVOCATIONS
async def test_revocation_between_the_commit_and_the_answer(revoke: Revoke) -> None:
    bench = SessionBench()
    first = await bench.login()
    rotate = bench.stores.sessions.rotate
    committed, go_on = asyncio.Event(), asyncio.Event()

    async def slow_rotate(attempt: object) -> object:
        rotation = await rotate(attempt)  # type: ignore[arg-type]
        committed.set()
        await go_on.wait()
        return rotation

    bench.store.__dict__["rotate"] = slow_rotate
    refreshing = asyncio.ensure_future(bench.refresh(first.refresh_token))
    await committed.wait()
    del bench.store.__dict__["rotate"]
    await revoke(bench, first)
    go_on.set()
    second = await refreshing
    assert await nothing_is_usable(bench, first, second)


@REVOCATIONS
async def test_race_and_retry_tokens_die_too(revoke: Revoke) -> None:
    bench = SessionBench()
    first = await bench.login()
    second = await bench.refresh(first.refresh_token)
    loser = await bench.refresh(first.refresh_token)
    bench.clock.advance(25)
    retried = await bench.refresh(first.refresh_token)
    await revoke(bench, retried)
    assert await nothing_is_usable(bench, second, loser, retried)


async def test_a_denial_lives_as_long_as_the_longest_token() -> None:
    bench = SessionBench()
    first = await bench.login()
    bench.clock.advance(100)
    await bench.service.end(first.session.sid, RevokeReason.ADMIN, None)
    bench.clock.advance(bench.claims(first).expires_at - bench.clock.now() - 0.5)
    bench.index.prune(bench.clock.now())
    assert not bench.works(first)


async def test_a_login_after_log_out_everywhere_lives() -> None:
    bench = SessionBench()
    first = await bench.login()
    await bench.service.end_user(first.user.user_id, RevokeReason.LOGOUT_ALL, None)
    user = await bench.stores.users.by_id(first.user.user_id)
    second = await bench.login(user)
    assert (bench.works(first), bench.works(second)) == (False, True)
    assert bench.works(await bench.refresh(second.refresh_token))


async def test_enabling_a_user_again_revives_nothing() -> None:
    bench = SessionBench()
    first = await bench.login()
    await by_disabling(bench, first)
    bench.service.announce(await bench.stores.users.set_active(first.user.user_id, True), None)
    assert await nothing_is_usable(bench, first)


async def test_many_at_once_give_one_new_generation_and_one_successor() -> None:
    bench = SessionBench()
    first = await bench.login()
    all_issued = await asyncio.gather(*(bench.refresh(first.refresh_token) for _ in range(50)))
    assert (await bench.stored(first)).generation == 2
    assert len({issued.refresh_token for issued in all_issued} - {None}) == 1
    await by_end(bench, first)
    assert await nothing_is_usable(bench, *all_issued)
