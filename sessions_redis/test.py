"""
For the tests of a site: see docs/testing.md.

Tests have keys of their own, which are deleted at the end of the run. That needs nothing from here.
But unlike rows of the database, the sessions of a test stay for the tests that follow.
"""

import sys
import unittest

from sessions_redis import conf, testing_runs


def key_prefix() -> str:
    """
    The start of the names of this test's keys in Redis.

    A program that the test starts shares its sessions if this is its ``KEY_PREFIX``.
    """
    return conf.current().keyspace.prefix


class FreshSessionsMixin(unittest.TestCase):
    """
    No session exists when a test of this class begins, not even one that ``setUpClass`` created.

    For a ``TestCase`` of Django's. It takes no round trip to Redis. A test raises ``RuntimeError``
    outside of Django's test environment.
    """

    # Not setUp(): a test case may forget to call its parent's, and some start a server earlier.
    def __call__(self, result: unittest.TestResult | None = None) -> None:
        testing_runs.begin_afresh()
        super().__call__(result)

    def debug(self) -> None:
        testing_runs.begin_afresh()
        super().debug()


# pytest is here already if it runs the tests. Other runners do without it.
if "pytest" in sys.modules:
    import pytest

    @pytest.fixture
    def fresh_sessions() -> None:
        """No session exists when the test begins. Needs pytest-django."""
        testing_runs.begin_afresh()
