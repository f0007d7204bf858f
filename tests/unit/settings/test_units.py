"""Durations and sizes."""

import pytest

from gateway.settings.units import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("15m", 900.0), ("24h", 86400.0), ("30d", 2592000.0), ("500ms", 0.5), ("1h30m", 5400.0), ("2w", 1209600.0),
        ("1.5s", 1.5), ("0", 0.0), (0, 0.0), ("0s", 0.0), (" 20s ", 20.0),
    ],
)  # fmt: skip
def test_durations_are_read(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "value", ["15", 15, 1.5, "15 m", "m", "-5m", "12:30", "1e3s", "٣s", "", None, [], True, False, "999999d"]
)
def test_what_is_no_duration_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"duration|hundred years"):
        parse_duration(value)


@pytest.mark.parametrize("text", ["500ms", "20s", "15m", "24h", "30d", "0s", "90s", "1500ms", "48h", "7d"])
def test_a_formatted_duration_reads_back_the_same(text: str) -> None:
    assert parse_duration(format_duration(parse_duration(text))) == parse_duration(text)


def test_the_contract_writes_durations_the_way_we_do() -> None:
    assert [format_duration(seconds) for seconds in (900, 86400, 2592000, 0.5, 0)] == [
        "15m",
        "24h",
        "30d",
        "500ms",
        "0s",
    ]


@pytest.mark.parametrize(
    ("text", "size"), [("10MiB", 10485760), ("512KiB", 524288), ("1GB", 10**9), ("7B", 7), (0, 0), ("0", 0)]
)
def test_sizes_are_read(text: object, size: int) -> None:
    assert parse_size(text) == size
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize("value", ["10", 10, "10M", "10mib", "-1MiB", "1.5MiB", None, True])
def test_what_is_no_size_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_size(value)
