"""Redis URLs: what each form means, and what is refused without saying a word of it."""

from __future__ import annotations

import pytest

from gateway.stores.redis.target import Kind, Target, target_of


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("redis://h", Target(Kind.SINGLE, (("h", 6379),))),
        ("redis://h:7000/3", Target(Kind.SINGLE, (("h", 7000),), db=3)),
        ("redis://[::1]:7000", Target(Kind.SINGLE, (("::1", 7000),))),
        ("redis://u:p%40s@h/", Target(Kind.SINGLE, (("h", 6379),), username="u", password="p@s")),
        ("rediss://:p@h", Target(Kind.SINGLE, (("h", 6379),), tls=True, password="p")),
        ("unix:///run/redis.sock?db=2", Target(Kind.SOCKET, (), "/run/redis.sock", db=2)),
        ("unix://u:p@/run/redis.sock", Target(Kind.SOCKET, (), "/run/redis.sock", username="u", password="p")),
        ("redis+sentinel://a,b:7/main/2", Target(Kind.SENTINEL, (("a", 26379), ("b", 7)), db=2, service="main")),
        (
            "rediss+sentinel://u:p@a/main?sentinel_username=s&sentinel_password=t",
            Target(
                Kind.SENTINEL,
                (("a", 26379),),
                "",
                0,
                True,
                "u",
                "p",
                "main",
                sentinel_username="s",
                sentinel_password="t",
            ),
        ),
        ("redis+cluster://a,[::2]:7", Target(Kind.CLUSTER, (("a", 6379), ("::2", 7)))),
    ],
)
def test_every_form_of_url(url: str, target: Target) -> None:
    assert target_of(url) == target
    assert "p@s" not in repr(target_of(url))


@pytest.mark.parametrize(
    ("url", "label"),
    [
        ("redis://u:secret@h:1/2", "h:1"),
        ("unix://:secret@/run/r.sock", "/run/r.sock"),
        ("redis+sentinel://:secret@a,[::1]/main", "a:26379,[::1]:26379/main"),
    ],
)
def test_the_label_names_the_place_only(url: str, label: str) -> None:
    assert target_of(url).label == label


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "secret",
            "http://secret",
            "redis:/secret",
            "redis:///secret",
            "redis://secret:0",
            "redis://secret:70000",
        ),
        *("redis://secret:x", "redis://[secret", "redis://h/secret", "redis://h?secret=1", "redis://h?secret"),
        *("redis://h/0#secret", "redis://:a/secret@h", "redis://h,secret", "unix+cluster:///secret", "unix://secret/x"),
        *("unix:///", "redis+sentinel://secret", "redis+cluster://h/7", "redis+secret://h", "redis://a b"),
    ],
)
def test_what_is_no_url_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as caught:
        target_of(url)
    assert "secret" not in str(caught.value)
