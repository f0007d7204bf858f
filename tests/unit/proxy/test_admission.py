"""How many connections there may be."""

from __future__ import annotations

from support.clock import FrozenClock
from support.proxying import Notes

from gateway.proxy.admission import Admission


def admission(total: int = 0, per_client: int = 0) -> tuple[Admission, Notes, FrozenClock]:
    notes, clock = Notes(), FrozenClock()
    return Admission(total, per_client, notes, clock.monotonic), notes, clock


def test_without_limits_everybody_comes_in() -> None:
    limits, notes, _ = admission()
    assert [limits.enter("192.0.2.1", shared=False) for _ in range(1000)] == [""] * 1000
    assert (limits.count, notes.events, limits.full(5)) == (1000, [], False)


def test_a_client_is_an_address_or_a_64(tmp_path: object) -> None:
    limits, _, _ = admission(per_client=1)
    addresses = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8:0:1::1", "2001:db8::2", "192.0.2.1"]
    slots = [limits.enter(address, shared=False) for address in addresses]
    assert [slot is not None for slot in slots] == [True, True, True, True, False, False]
    limits.leave("192.0.2.1/32")
    assert limits.enter("192.0.2.1", shared=False) == "192.0.2.1/32"


def test_proxies_are_exempt_from_the_limit_per_client_only() -> None:
    limits, _, _ = admission(total=3, per_client=1)
    assert [limits.enter("10.0.0.1", shared=True) for _ in range(4)] == ["", "", "", None]
    assert limits.full(0)
    limits.leave("")
    assert not limits.full(0)
    assert limits.full(1)


def test_nothing_is_remembered_of_clients_that_left() -> None:
    limits, _, _ = admission(per_client=2)
    for number in range(100):
        slots = [limits.enter(f"192.0.2.{number}", shared=False) for _ in range(2)]
        for slot in slots:
            assert slot is not None
            limits.leave(slot)
    assert (limits.count, limits._clients) == (0, {})


def test_refusals_are_told_once_a_minute_with_their_number() -> None:
    limits, notes, clock = admission(total=1)
    limits.enter("192.0.2.1", shared=False)
    for _ in range(5):
        assert limits.enter("192.0.2.2", shared=False) is None
    clock.advance(59.9)
    limits.enter("192.0.2.2", shared=False)
    assert len(notes.events) == 1
    clock.advance(0.2)
    limits.enter("192.0.2.3", shared=False)
    assert [event.fields for event in notes.events] == [
        {"limit": "all", "count": 1, "open": 1},
        {"limit": "all", "count": 6, "open": 1},
    ]
    assert notes.events[1].address == "192.0.2.3"
