"""
A process of a site that sets up Django's test environment by itself, and tears it down.

Run as ``python -m tests.tested_site.environment`` with ``SESSION_REDIS`` in ``TESTED_SITE_REDIS``.
"""

import json
import multiprocessing
import os

import pytest
import redis
from django.conf import settings

setting = json.loads(os.environ["TESTED_SITE_REDIS"])
settings.configure(SESSION_ENGINE="sessions_redis.engine", SESSION_REDIS=setting, INSTALLED_APPS=[])

import django  # noqa: E402
from django.core import mail  # noqa: E402
from django.test.utils import (  # noqa: E402
    override_settings,
    setup_test_environment,
    teardown_test_environment,
)

django.setup()
from sessions_redis import conf, testing_leftovers, testing_runs  # noqa: E402
from sessions_redis.engine import SessionStore  # noqa: E402
from sessions_redis.test import FreshSessionsMixin  # noqa: E402
from tests.tested_site.forks import in_a_fork  # noqa: E402

client = redis.Redis.from_url(setting["LOCATION"])


def keys(prefix: str) -> list[bytes]:
    return client.keys(f"{prefix}:*")


def created() -> SessionStore:
    session = SessionStore()
    session.create()
    return session


def real_ones_outside() -> None:
    assert not conf.is_testing()
    mail.outbox = []  # as in a site that sends mails with the backend locmem
    assert not conf.is_testing()
    del mail.outbox
    assert conf.current().key_prefix == setting["KEY_PREFIX"]
    session = created()
    assert session.inspect().redis_key.startswith(setting["KEY_PREFIX"] + ":")
    session.delete()


def refused_outside() -> None:
    class Case(FreshSessionsMixin):
        def test_it(self) -> None: ...

    for run in Case("test_it"), Case("test_it").debug:
        with pytest.raises(RuntimeError, match="setup_test_environment"):
            run()


def tests_inside() -> None:
    setup_test_environment()
    assert conf.is_testing()
    testing_runs.begin_afresh()
    prefix = conf.current().key_prefix
    assert prefix.startswith(f"test_{setting['KEY_PREFIX']}:")
    sessions = [created(), created()]
    assert len(keys(prefix)) == 4, keys(prefix)  # the session and two indexes
    testing_runs.begin_afresh()
    assert not sessions[0].exists(sessions[0].session_key)
    created()
    teardown_test_environment()
    assert keys("test_*") == []


def forks_inside() -> None:
    """A fork does not end its parent's run, and a wrong setting does not disturb it."""
    setup_test_environment()
    session = created()
    in_a_fork(teardown_test_environment)
    assert session.exists(session.session_key)
    with override_settings(SESSION_REDIS={"LOCATION": "nowhere"}):
        in_a_fork(lambda: None)
    teardown_test_environment()


def ended_by_a_fork_first() -> None:
    """After a fork has ended, the parent still ends the run and removes all keys."""
    setup_test_environment()
    created()
    in_a_fork(teardown_test_environment)
    teardown_test_environment()  # before any use, which would mark the run as used again
    assert keys(f"test_{setting['KEY_PREFIX']}") == []


def as_another_user() -> None:  # pragma: no cover - it runs in a fork
    """A process that may not send signals to this one's parent still finds that it exists."""
    if os.getuid() == 0:
        os.setuid(65534)
    assert testing_leftovers.is_alive(os.getppid())


def overridden_where_nothing_is_set() -> None:
    setup_test_environment()
    del settings.SESSION_REDIS
    with override_settings(SESSION_REDIS={**setting, "KEY_PREFIX": "as-written"}):
        assert conf.current().key_prefix == "as-written"
    settings.SESSION_REDIS = setting
    teardown_test_environment()


def left_to_the_end_of_the_process() -> None:
    setup_test_environment()
    created()


if __name__ == "__main__":
    real_ones_outside()
    refused_outside()
    tests_inside()
    real_ones_outside()
    forks_inside()
    ended_by_a_fork_first()
    in_a_fork(as_another_user)
    overridden_where_nothing_is_set()
    child = multiprocessing.get_context("spawn").Process(target=left_to_the_end_of_the_process)
    child.start()
    child.join()
    assert child.exitcode == 0
    assert keys("test_*") == []
    left_to_the_end_of_the_process()
