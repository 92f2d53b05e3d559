"""
Tools for the tests of a site. docs/testing.md explains them.

In tests, sessions have keys of their own, which are deleted at the end of the run. That works
without this module. But the next test still finds the sessions of the one before, unlike rows of
the database. This module changes that.
"""

import sys
import unittest

from sessions_redis import conf, testing_runs


def key_prefix() -> str:
    """
    The start of the names of this test's keys in Redis.

    A program that the test starts sees the test's sessions if this is the program's ``KEY_PREFIX``.
    """
    return conf.current().keyspace.prefix


class FreshSessionsMixin(unittest.TestCase):
    """
    Each test of this class begins without sessions. Those from ``setUpClass`` are gone as well.

    Put it before Django's ``TestCase``. It sends nothing to Redis. Outside of Django's test
    environment, a test raises ``RuntimeError``.
    """

    # This is not in setUp(): subclasses may forget super().setUp(), or start a server before it.
    def __call__(self, result: unittest.TestResult | None = None) -> None:
        testing_runs.begin_afresh()
        super().__call__(result)

    def debug(self) -> None:
        testing_runs.begin_afresh()
        super().debug()


# If pytest runs the tests, it is imported already. Other test runners do not need it.
if "pytest" in sys.modules:
    import pytest

    @pytest.fixture
    def fresh_sessions() -> None:
        """The test begins without sessions. Needs pytest-django."""
        testing_runs.begin_afresh()
