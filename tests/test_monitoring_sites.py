"""Sentry, and redis-py's own metrics, see the sessions of a site in a process of its own."""

import json
import os
import subprocess
import sys

import pytest
import redis

from sessions_redis.storage.commands import session_id
from tests.monitored import nowhere
from tests.sentry_site import EMAIL, VALUE
from tests.servers import Server

PASSWORD = "open-sesame-4711"


def printed(module, session_redis, *arguments):
    """What ``python -m module`` prints, with these settings. A busy machine is no failure."""
    options = {"socket_timeout": 20, "socket_connect_timeout": 20}
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env={
            **os.environ,
            "WORKER_SESSION_REDIS": json.dumps({**session_redis, "OPTIONS": options}),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def guarded(session_redis, tmp_path):
    """Settings for a server that asks for a password."""
    server = Server(tmp_path)
    with server.client() as client:
        client.config_set("requirepass", PASSWORD)
    yield {**session_redis, "LOCATION": server.url.replace("//", f"//:{PASSWORD}@")}
    server.stop()


def test_sentry(guarded, prefix):
    """
    A request shows the load and the save of its session, also in an asynchronous view. A command
    that fails is not shown, but Sentry has an event when Redis goes away, as the docs explain.

    Nothing of what Sentry sends contains the session key, a value or the password, even though the
    site lets it send personal data and all arguments.
    """
    with nowhere() as address:
        site = printed("tests.sentry_site", guarded, address)
    session_key = site["cookie"].partition("=")[2]
    transactions = [one for one in site["sent"] if one.get("type") == "transaction"]
    seen = [
        [span["description"] for span in one["spans"] if span["op"] == "db.redis"]
        for one in transactions
    ]
    key = f"'{prefix}:{session_id(session_key)}'"
    load, save = f"HGETALL {key}", f"EVALSHA save {key} '{prefix}:index'"
    assert seen == [[save.replace("save", "create")], [load, save], [load, save], []]
    (event,) = [one for one in site["sent"] if one.get("level") == "error"]
    assert event["logentry"]["message"].startswith("Sessions cannot be reached.")
    sent = json.dumps(site["sent"])
    for secret in (session_key, VALUE, EMAIL, PASSWORD):
        assert secret not in sent


@pytest.mark.skipif(
    redis.__version__.startswith(("6.", "7.0.", "7.1.", "7.2.", "7.3.")),
    reason="this version of redis-py cannot count commands, or not by this import",
)
def test_metrics_of_redis_py(session_redis, server):
    """They count the commands of sessions, and the errors, without any tool being installed."""
    with nowhere() as address:
        away = f"redis://:{PASSWORD}@{address}/0"
        site = printed("tests.counted_site", session_redis, away)
    durations = {
        attributes["db.operation.name"]: (attributes["server.port"], count)
        for attributes, count in site["counted"]["db.client.operation.duration"]
    }
    assert durations == {
        "EVALSHA CREATE": (server.port, 1),
        "HGETALL": (server.port, 2),
        "EVALSHA SAVE": (server.port, 1),
    }
    failed = [
        attributes["error.type"]
        for attributes, _ in site["counted"]["redis.client.errors"]
        if not attributes["redis.client.errors.internal"]
    ]
    assert failed == ["ConnectionError"]
    for secret in (site.pop("session_key"), PASSWORD):
        assert secret not in json.dumps(site)
