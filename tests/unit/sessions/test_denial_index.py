"""The revocation index: what it denies, what it never forgets too early, and whom it tells."""

from __future__ import annotations

import pytest
from support.clock import FrozenClock
from support.sessions import Recorder, context
from support.tokens import SID, USER, make_claims

from gateway.sessions.denial import Denial, RevocationIndex
from gateway.sessions.denied_use import DeniedUse
from gateway.sessions.ports import FeedEntry, FeedKind

CLOCK = FrozenClock()
NOW = CLOCK.now()


def session(seq: int = 1, *, sid: str = SID, expires: float = NOW + 960) -> FeedEntry:
    return FeedEntry(seq, FeedKind.SESSION, sid, 0, expires)


def user(seq: int = 1, *, epoch: int = 1, expires: float = NOW + 960) -> FeedEntry:
    return FeedEntry(seq, FeedKind.USER, USER, epoch, expires)


def delivery(generation: int, number: int, seq: int = 1, *, expires: float = NOW + 960) -> FeedEntry:
    return FeedEntry(seq, FeedKind.DELIVERY, SID, generation * 65536 + number, expires)


def denial(index: RevocationIndex, **changes: object) -> Denial | None:
    return index.denial(make_claims(CLOCK, **changes))


def test_an_empty_index_denies_nothing() -> None:
    assert denial(RevocationIndex()) is None


def test_an_ended_session_is_denied_and_only_it() -> None:
    index = RevocationIndex()
    index.apply([session()])
    assert denial(index) is Denial.SESSION
    assert denial(index, session_id="another") is None


def test_an_epoch_denies_lower_ones_only() -> None:
    index = RevocationIndex()
    index.apply([user(epoch=5)])
    assert denial(index, user_epoch=4) is Denial.USER
    assert denial(index, user_epoch=5) is None
    assert denial(index, user_epoch=6) is None
    assert denial(index, subject="another", user_epoch=0) is None


@pytest.mark.parametrize(
    ("generation", "number", "denied"),
    [
        *((3, 1, True), (3, 2, True), (3, 3, False), (3, 4, False)),
        *((2, -1, True), (2, -2, True), (2, -3, False)),
        *((2, 1, False), (4, 1, False), (3, -1, False), (1, -1, False), (3, 0, False), (2, 0, False)),
    ],
)
def test_a_retry_denies_earlier_deliveries_and_race_tokens(generation: int, number: int, denied: bool) -> None:
    index = RevocationIndex()
    index.apply([delivery(3, 3)])
    assert denial(index, generation=generation, delivery=number) is (Denial.DELIVERY if denied else None)


def test_denied_deliveries_of_two_generations_stand_side_by_side() -> None:
    index = RevocationIndex()
    index.apply([delivery(3, 2), delivery(5, 3, 2)])
    assert denial(index, generation=3, delivery=1) is Denial.DELIVERY
    assert denial(index, generation=5, delivery=2) is Denial.DELIVERY
    assert denial(index, generation=4, delivery=1) is None


def test_a_later_delivery_never_weakens_an_ended_session() -> None:
    index = RevocationIndex()
    index.apply([session(), delivery(3, 2, 2)])
    assert denial(index, generation=9, delivery=1) is Denial.SESSION


def test_an_end_replaces_denied_deliveries_and_outlives_them() -> None:
    index = RevocationIndex()
    index.apply([delivery(3, 2, expires=NOW + 10), session(2, expires=NOW + 20)])
    index.prune(NOW + 11)
    assert denial(index, generation=9) is Denial.SESSION


def test_a_denied_delivery_does_not_hide_the_epoch() -> None:
    index = RevocationIndex()
    index.apply([delivery(3, 2), user(2)])
    assert denial(index, generation=4, delivery=1) is Denial.USER


def test_order_and_repetition_do_not_matter() -> None:
    entries = [user(1, epoch=2), user(2, epoch=1), delivery(3, 3, 3), delivery(3, 2, 4), session(5, sid="other")]
    one, two = RevocationIndex(), RevocationIndex()
    one.apply(entries)
    two.apply(reversed(entries))
    version = two.version
    two.apply(entries)
    assert two.version == version
    for index in (one, two):
        assert len(index) == 3
        assert denial(index, generation=3, delivery=2, user_epoch=2) is Denial.DELIVERY
        assert denial(index, session_id="x", user_epoch=1) is Denial.USER


def test_entries_are_forgotten_when_they_expire_and_not_before() -> None:
    index = RevocationIndex()
    index.apply([session(expires=NOW + 10), user(2, expires=NOW + 20), delivery(7, 2, 3)])
    index.prune(NOW + 9.9)
    assert denial(index) is Denial.SESSION
    assert index.prune(NOW + 10) == 1
    assert denial(index, user_epoch=1) is None
    assert denial(index) is Denial.USER
    index.prune(NOW + 20)
    assert len(index) == 0
    assert index.prune(NOW + 1000) == 0


def test_the_latest_expiry_of_a_denial_counts() -> None:
    index = RevocationIndex()
    index.apply([session(1, expires=NOW + 50), session(2, expires=NOW + 10), session(3, expires=NOW + 90)])
    index.apply([user(4, epoch=2, expires=NOW + 90), user(5, epoch=3, expires=NOW + 10)])
    index.prune(NOW + 60)
    assert denial(index) is Denial.SESSION
    assert denial(index, session_id="x", user_epoch=2) is Denial.USER
    index.prune(NOW + 90)
    assert len(index) == 0


def test_deliveries_expire_one_by_one() -> None:
    index = RevocationIndex()
    index.apply([delivery(3, 2, 1, expires=NOW + 10), delivery(5, 2, 2, expires=NOW + 20)])
    index.apply([delivery(3, 3, 3, expires=NOW + 5)])
    index.prune(NOW + 9)
    assert denial(index, generation=3, delivery=2) is Denial.DELIVERY
    index.prune(NOW + 10)
    assert denial(index, generation=3, delivery=2) is None
    assert denial(index, generation=5, delivery=1) is Denial.DELIVERY
    index.prune(NOW + 20)
    assert len(index) == 0


def test_pruning_goes_in_small_steps() -> None:
    index = RevocationIndex()
    index.apply(session(n, sid=f"s{n}", expires=NOW + 1) for n in range(600))
    assert index.prune(NOW + 2) < 600
    assert 0 < len(index) < 600
    while index.prune(NOW + 2):
        pass
    assert len(index) == 0


def test_starting_again_forgets_what_the_feed_no_longer_says() -> None:
    index = RevocationIndex()
    index.apply([session(), user(2)])
    index.replace([session(1, sid="other")])
    assert denial(index) is None
    assert denial(index, session_id="other") is Denial.SESSION


def test_subscribers_hear_of_changes_once_and_until_they_leave() -> None:
    index = RevocationIndex()
    heard: list[tuple[str | None, str | None]] = []

    def callback(sid: str | None, user_id: str | None) -> None:
        heard.append((sid, user_id))

    leave = index.subscribe(callback)
    index.apply([session(), session(), user(2), delivery(3, 2, 3)])
    assert heard == [(SID, None), (None, USER)]
    leave()
    leave()
    index.apply([session(9, sid="other")])
    assert len(heard) == 2


def test_a_subscriber_may_leave_while_being_told() -> None:
    index = RevocationIndex()
    heard: list[str] = []
    leave_first = index.subscribe(lambda sid, user_id: (heard.append("first"), leave_first())[0])
    index.subscribe(lambda sid, user_id: heard.append("second"))
    index.apply([session()])
    assert heard == ["first", "second"]


def test_use_of_a_denied_delivery_is_told_once_per_token() -> None:
    sink = Recorder()
    denied = DeniedUse(sink)
    claims = make_claims(CLOCK)
    for _ in range(3):
        denied.report(Denial.DELIVERY, claims, context())
    denied.report(Denial.SESSION, make_claims(CLOCK, token_id="2"), context())
    denied.report(Denial.DELIVERY, make_claims(CLOCK, token_id="3"), None)
    first, second = sink.events
    assert first.session_id == SID
    assert first.user_id == USER
    assert first.request_id == "req-1"
    assert first.fields == {"risk.reasons": ["superseded_delivery"], "action": "refused"}
    assert second.request_id is None


def test_what_was_told_is_bounded() -> None:
    sink = Recorder()
    denied = DeniedUse(sink)
    for number in range(4098):
        denied.report(Denial.DELIVERY, make_claims(CLOCK, token_id=str(number)), None)
    denied.report(Denial.DELIVERY, make_claims(CLOCK, token_id="4097"), None)
    assert len(sink.events) == 4098
    denied.report(Denial.DELIVERY, make_claims(CLOCK, token_id="0"), None)
    assert len(sink.events) == 4099
