"""For the whole suite: no secret in any output, and real gateway processes for the tests that ask for them."""

from support.leak_check import pytest_runtest_makereport, pytest_runtest_setup, watched
from support.process import fleet

__all__ = ["fleet", "pytest_runtest_makereport", "pytest_runtest_setup", "watched"]
