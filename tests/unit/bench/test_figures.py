"""From runs to medians, verdicts, the README's table and the picture."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bench import draw, frames, readme, soak
from bench.measured import add, median, percentile
from bench.requests import forged, zipf
from bench.targets import judge

GATEWAY = {"cpu_us": 40.0, "per_second": 25000.0, "p50_ms": 0.5, "p99_ms": 2.0, "errors": 0.0}
FOUND = {
    "peers": {"gateway": "gateway", "haproxy": "HAProxy <2.6>"},
    "left_out": {"caddy": "caddy is not installed"},
    "scenarios": {
        "cached": {
            "title": "GET",
            "peers": {"gateway": GATEWAY, "haproxy": {**GATEWAY, "cpu_us": 50.0, "p99_ms": 0.5}},
        },
    },
}


def test_medians_of_figures_and_sums_of_errors() -> None:
    rows = [{"cpu_us": value, "errors": 1.0, "login_503_count": 2.0} for value in (3.0, 9.0, 4.0)]
    assert median(rows) == {"cpu_us": 4.0, "errors": 3.0, "login_503_count": 6.0}


def test_errors_of_both_halves_of_a_run_are_summed() -> None:
    assert add({"cpu_us": 1.0, "errors": 2.0}, {"p99_ms": 3.0, "errors": 4.0}) == {
        "cpu_us": 1.0,
        "p99_ms": 3.0,
        "errors": 6.0,
    }


def test_percentiles() -> None:
    assert percentile(range(100), 0.99) == 99
    assert percentile([], 0.99) == 0.0


def test_zipf_prefers_the_first_and_leaves_no_number_out_of_reach() -> None:
    drawn = zipf(100, 20_000)
    assert drawn.count(0) > 1.6 * drawn.count(1) > 1.6 * drawn.count(20)
    assert set(drawn) == set(range(100))


def test_a_forged_token_differs_in_nothing_but_the_signature() -> None:
    assert forged("head.claims.abc") == "head.claims.cba"


@pytest.mark.parametrize("size", [0, 64, 125, 126, 5000])
@pytest.mark.parametrize("masked", [True, False])
def test_frames_are_read_as_they_were_made(size: int, masked: bool) -> None:
    frame = frames.make(frames.TEXT, b"x" * size, masked=masked)
    assert frames.take(frame + b"more") == (frames.TEXT, b"x" * size, len(frame))
    assert frames.take(frame[:-1]) is None


def test_a_mask_is_taken_off() -> None:
    masked = bytes(byte ^ mask for byte, mask in zip(b"hello", b"\x01\x02\x03\x04\x01", strict=True))
    assert frames.take(b"\x81\x85\x01\x02\x03\x04" + masked) == (frames.TEXT, b"hello", 11)


def test_targets_that_are_met_missed_and_not_measured() -> None:
    verdicts = {verdict.text: verdict for verdict in judge(FOUND)}
    cpu = verdicts["CPU/request, cached token ≤ 1.0 × HAProxy jwt_verify"]
    latency = verdicts["p99 at half load ≤ 1.5 × HAProxy's + 1 ms"]
    assert (cpu.value, cpu.limit, cpu.met) == (0.8, 1.0, True)
    assert (latency.value, latency.limit, latency.met) == (2.0, 1.75, False)
    assert verdicts["CPU/request, 10,000 tokens ≤ 1.3 × HAProxy"].met is None


def test_the_table_replaces_what_stands_between_the_markers(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n")
    readme.write(page, FOUND)
    text = page.read_text()
    assert text.startswith(f"before\n{readme.BEGIN}\n")
    assert text.endswith(f"\n{readme.END}\nafter\n")
    assert "| HAProxy <2.6> | 50 | 0.80 | – | – | – | 25,000 | 0.5 |" in text
    assert "caddy" in text
    assert "old" not in text


def test_a_page_without_markers_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text("nothing")
    with pytest.raises(ValueError, match="bench:begin"):
        readme.write(page, FOUND)
    assert page.read_text() == "nothing"


def test_the_picture_is_xml_with_a_bar_for_each_peer(tmp_path: Path) -> None:
    draw.draw(tmp_path / "bench.svg", FOUND)
    root = ET.parse(tmp_path / "bench.svg").getroot()
    bars = [float(bar.get("width", "")) for bar in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert len(bars) == 2
    assert bars[0] == pytest.approx(bars[1] * 0.8, abs=0.1)


def test_memory_that_grows_after_the_warm_up_is_not_flat() -> None:
    flat = [soak.Sample(at, 50.0 if at < 10 else 100.0, 0) for at in range(50)]
    growing = [soak.Sample(at, 100.0 + at, 0) for at in range(50)]
    assert soak.flatness(flat) == 0
    assert soak.flatness(growing) > soak.ALLOWED
