"""The pytest side of `support.leaks`: a test whose output holds a secret fails, whatever it asserts itself."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

from support.leaks import WATCH, taps


@pytest.fixture(scope="session", autouse=True)
def watched() -> Iterator[None]:
    """Taps into everything the gateway writes in this process, from the first test to the last."""
    with taps(WATCH):
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    WATCH.start_test()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Look at what the test printed as well; a failed test shows its own trouble first."""
    report = yield
    if report.when != "teardown" or not report.passed:
        return report
    for title, text in report.sections:
        WATCH.output(text, title.lower())
    if WATCH.leaks:
        report.outcome = "failed"
        report.longrepr = "secrets in the output:\n" + "\n".join(dict.fromkeys(WATCH.leaks))
    return report
