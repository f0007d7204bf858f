"""A session as stored: what a rotation carries over."""

from __future__ import annotations

from dataclasses import fields, replace

from support.stores import LAPTOP, PHONE, a_session

from gateway.sessions.session import Channel, RetryMark, RevokeReason


def test_a_rotation_changes_what_it_says_and_carries_over_all_else() -> None:
    session = a_session(
        "ada",
        1000.0,
        channel=Channel.BODY,
        kid=7,
        created_at=1.0,
        auth_time=2.0,
        amr=("pwd", "otp"),
        generation=41,
        delivery=3,
        last_passive_at=5.0,
        bound=LAPTOP,
        retries=(RetryMark(3, True),),
        proof_required=True,
        revoked_at=9.0,
        revoke_reason=RevokeReason.ADMIN,
    )
    marks = (RetryMark(40, False),)
    times = {"last_seen_at": 2001.0, "idle_expires_at": 2002.0, "max_access_exp": 2003.0}
    expected = replace(
        session,
        generation=43,
        delivery=1,
        confirmed_generation=42,
        presented_generation=42,
        rotated_at=2000.0,
        seen=PHONE,
        retries=marks,
        **times,
    )
    after = session.rotated(43, 2000.0, PHONE, marks, **times)
    assert [(field.name, getattr(after, field.name)) for field in fields(after)] == [
        (field.name, getattr(expected, field.name)) for field in fields(expected)
    ]
