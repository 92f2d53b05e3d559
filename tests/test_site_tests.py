"""
The tests of a site that follow Django's documentation give on this engine what they give on
Django's `db` engine, in each way to run them.
"""

import pytest

from tests.test_testing import SITE, assert_passed, everything, pytest_of_site, python

__all__ = ["everything"]

OURS = "sessions_redis.middleware.SessionMiddleware"
DJANGOS = "django.contrib.sessions.middleware.SessionMiddleware"
DB = "django.contrib.sessions.backends.db"


@pytest.mark.parametrize(
    ("engine", "middleware"),
    [("sessions_redis.engine", OURS), ("sessions_redis.engine", DJANGOS), (DB, DJANGOS)],
    ids=["this engine", "Django's middleware", "Django's db engine"],
)
def test_the_idioms_of_tests(session_redis, everything, engine, middleware):
    """They pass in a random order as well, in two processes, and leave nothing in Redis."""
    done = python(
        *(session_redis, "manage.py", "test", "--keepdb", "--shuffle", "--parallel", "2"),
        f"{SITE}.idioms",
        TESTED_SITE_ENGINE=engine,
        TESTED_SITE_MIDDLEWARE=middleware,
    )
    assert_passed(done)
    assert "Ran 25 tests" in done.stderr
    assert everything() == {}


def test_pytest_with_four_workers(session_redis, everything):
    """The same, with the fixtures of pytest-django as well."""
    files = [f"tests/tested_site/{name}.py" for name in ("idioms", "functions")]
    done = pytest_of_site(session_redis, "-p", "xdist", "-n", "4", *files)
    assert_passed(done)
    assert "34 passed" in done.stdout
    assert everything() == {}
