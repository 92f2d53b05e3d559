"""
Tests of the engine's promises once more, while OpenTelemetry watches.

Round trips, several commands in one, replies that do not belong to the request, lost connections,
interruptions, and errors without secrets.
"""

import json

import pytest

from tests.monitored import instrumented
from tests.test_clients import (  # noqa: F401 - tests and their fixtures
    Lossy,
    execute_all,
    keyspace,
    test_a_cancelled_command,
    test_a_connection_that_the_server_closed,
    test_a_lost_reply,
    test_all_at_once,
    test_all_when_the_reply_is_lost,
    test_an_increment_is_never_sent_twice,
    test_an_interrupted_command,
    test_one_of_all_is_refused,
)
from tests.test_clients_forks import READERS, named, run
from tests.test_clients_pipelines import (  # noqa: F401
    at,
    test_a_cancelled_task_does_not_cancel_others,
    test_a_refusal_reaches_only_its_own_task,
    test_commands_at_the_same_time_share_a_round_trip,
    test_each_gets_the_answer_to_its_own_command,
    trips,
)
from tests.test_garbage import (  # noqa: F401
    garbler,
    test_garbage_among_replies,
    test_garbage_among_the_replies_to_several_tasks,
    use,
    visitor,
)
from tests.test_round_trips import proxy, test_async_round_trips, test_round_trips  # noqa: F401
from tests.test_secrets import session, test_a_server_that_is_away  # noqa: F401


@pytest.fixture(autouse=True)
def watched():
    """Each test has commands that OpenTelemetry saw."""
    with instrumented() as spans:
        yield
    assert spans.exporter.get_finished_spans()


@pytest.fixture
def lossy(server):
    """A proxy that loses replies. It closes the connection then."""
    loses = Lossy(server.port, hangs=False)
    loses.patience = {"socket_timeout": 5}
    yield loses
    loses.stop()


# The program of the tests of forks begins with this.
WATCHED = """
from opentelemetry.instrumentation.redis import RedisInstrumentor

RedisInstrumentor().instrument()
"""


@pytest.mark.parametrize(("world", "place"), [("sync", "plainly"), ("async", "on its loop")])
def test_parent_and_child_read_their_own(session_redis, world, place):
    """A forked process does not speak on the connections of its parent."""
    keys = {name: named(name) for name in ("parent", "child")}
    program = WATCHED + READERS
    done = run(program, json.dumps(session_redis), world, "os", place, json.dumps(keys))
    assert json.loads(done.stdout) == {"before": "parent", "parent": [0], "child": [0]}
