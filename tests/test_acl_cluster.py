"""
The restricted user of docs/cluster.md: the line gives what the engine needs in a Cluster.

Each of its commands is taken away in turn. An operation of several steps can then stop between two
of them, as after a crash: no session is half written, without a time to live, or not listed.
"""

from io import StringIO
from itertools import count
from random import getrandbits

import pytest
from django.core.management import call_command
from redis.exceptions import NoPermissionError

from sessions_redis import registry
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.storage import shard_counts
from sessions_redis.storage.commands import session_id
from tests import test_refusals
from tests.clustered import Cluster
from tests.documents import rows, section, text_of


def line_of(page):
    (line,) = [one for one in text_of(page).splitlines() if one.startswith("ACL SETUSER")]
    return line


def commands_of(line):
    return [word.removeprefix("+") for word in line.split() if word.startswith("+")]


LINE = line_of("docs/cluster.md")
COMMANDS = commands_of(LINE)
COMMANDS_OF_ONE_SERVER = commands_of(line_of("docs/redis.md"))

SHARDS = 2

# What each operation does, and its preparation: see tests/test_refusals.py. The ones that end
# sessions come last. ``it`` is a loaded session of user 7.
KEPT = [
    "load", "exists", "create, signed in", "create, trimming", "save", "clear", "shorten",
    "sign in as another", "sign out", "increment", "note", "find", "latest", "starting_with",
    "by_time_left", "trim", "measure", "entries",
]  # fmt: skip
ENDING = [
    "expire", "cycle", "cycle and sign out", "create beside", "flush", "end", "end_many",
    "end_all_of",
]  # fmt: skip


class Trimming(SessionStore):
    """A session with one of the keys whose listing also removes expired members of indexes."""

    def _get_new_session_key(self):
        keys = (f"{number:032}" for number in count(getrandbits(64)))
        return next(key for key in keys if session_id(key).startswith("0"))


OPERATIONS = test_refusals.OPERATIONS | {"create, trimming": lambda it: Trimming().create()}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("cluster"), masters=3, replicas=0)
    yield cluster
    cluster.stop()


@pytest.fixture(scope="module")
def admins(cluster):
    """A client for each node, whom the server allows everything."""
    clients = [server.client(decode_responses=True) for server in cluster.servers]
    yield clients
    for client in clients:
        client.close()


@pytest.fixture(autouse=True)
def session_redis(settings, cluster, admins):
    grant(admins, COMMANDS)
    for client in admins:
        client.flushall()
    url = cluster.url.replace("://", "://sessions:password@")
    settings.SESSION_REDIS = {"LOCATION": url, "INDEX_SHARDS": SHARDS}
    return settings.SESSION_REDIS


def grant(admins, commands, keys="~session:*"):
    """Give the documented user these commands and no other, on all nodes."""
    words = [word for word in LINE.split() if not word.startswith(("+", "~"))]
    for client in admins:
        rights = (f"+{command}" for command in commands)
        client.execute_command(*words, "resetkeys", keys, "-@all", *rights)


def prepared(operation):
    """A loaded session of user 7."""
    session = SessionStore()
    session.update({"_auth_user_id": "7", "color": "red", "counter": 1})
    session.save()
    session = SessionStore(session.session_key)
    session.get("color")
    test_refusals.BEFORE.get(operation, lambda session: None)(session)
    return session


def refusal(operation, session):
    """The text of Redis's refusal; ``None`` if the operation works."""
    try:
        OPERATIONS[operation](session)
    except SessionStoreUnavailable as error:
        return str(error)
    return None


def added_for(purpose):
    """The commands that docs/redis.md adds to the user for one purpose."""
    table = rows(section(text_of("docs/redis.md"), "## A restricted user"))
    (found,) = [added for what, added in table if purpose in what]
    return found.replace("\\|", "|").strip("`").replace("+", "").split()


def color_in(session):
    return SessionStore(session.session_key).get("color")


def problems(admins):
    """What should not be in Redis."""
    keys = [(client, key) for client in admins for key in client.scan_iter()]
    members = {
        key: set(client.zrange(key, 0, -1)) for client, key in keys if client.type(key) == "zset"
    }
    sessions = {
        key.rpartition(":")[2]: client.hgetall(key) for client, key in keys if key not in members
    }
    # If cycling failed in its last step, the copy leads to the former session.
    found = {
        index: ids | {sessions.get(id, {}).get("@former") for id in ids}
        for index, ids in members.items()
    }
    return [
        *(f"{key} never expires" for client, key in keys if client.ttl(key) == -1),
        *(
            f"{id} is half written: {fields}"
            for id, fields in sessions.items()
            if "@created" in fields and "@updated" not in fields
        ),
        *(
            f"{id} is a part of a session: {fields}"
            for id, fields in sessions.items()
            if "@created" not in fields and not fields.keys() <= {"@cycled", "@ended", "@beside"}
        ),
        *(
            f"ending all sessions of user {user} would not find {id}: {fields}"
            for id, fields in sessions.items()
            if (user := fields.get("@user")) and id not in found.get(f"session:user:{user}", ())
        ),
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_is_not_allowed(admins, settings, monkeypatch, command):
    """If any command is forbidden, the error names it, and Redis holds whole, listed sessions."""
    others = [other for other in COMMANDS if other != command]
    said = {}
    for operations in (KEPT, ENDING):
        sessions = {operation: prepared(operation) for operation in operations}
        monkeypatch.setattr(shard_counts, "_noted", {})  # as in a process that has just begun
        grant(admins, others)
        for client in admins:
            client.script_flush()  # so that EVAL is needed again
        if command == "cluster|slots":  # which a process asks once
            settings.SESSION_REDIS = {**settings.SESSION_REDIS}
        refused = {
            operation: refusal(operation, session) for operation, session in sessions.items()
        }
        grant(admins, COMMANDS)
        said |= {operation: text for operation, text in refused.items() if text is not None}
        if operations is KEPT:
            kept = {one: color_in(sessions[one]) for one in KEPT if one in said}
            assert kept == dict.fromkeys(kept, "red")
    assert problems(admins) == []
    name = command.partition("|")[0]
    assert {done: text for done, text in said.items() if f"'{name}" not in text.lower()} == {}
    assert {done: text for done, text in said.items() if "docs/cluster.md names" not in text} == {}
    # Statistics do without the memory that sessions take.
    assert said or command == "memory|usage"


@pytest.mark.parametrize(
    "command",
    ["GET other", "SET session:x 1", "CLUSTER NODES", "CLUSTER RESET", "FLUSHALL", "INFO"],
)
def test_what_the_user_may_not_do(cluster, command):
    """The user can neither use other keys nor look at the nodes more closely."""
    options = {"username": "sessions", "password": "password"}
    with cluster.servers[0].client(**options) as client, pytest.raises(NoPermissionError):
        client.execute_command(*command.split())


def test_rebuilding_the_indexes(admins):
    """With the commands of docs/redis.md, the user can list sessions whose index was lost."""
    session = prepared("load")
    for client in admins:
        for key in client.keys("session:index*") + client.keys("session:user:*"):
            client.delete(key)
    grant(admins, COMMANDS + added_for("rebuildindex"))
    said = StringIO()
    call_command("rebuildindex", stdout=said)
    assert "1 was listed again" in said.getvalue()
    assert [one.id for one in registry.of_user("7")] == [session_id(session.session_key)]


def test_one_slot(admins, settings, session_redis):
    """With a part of the prefix in braces, the user needs what it needs on one server."""
    settings.SESSION_REDIS = {**session_redis, "KEY_PREFIX": "{session}", "INDEX_SHARDS": 1}
    grant(admins, [*COMMANDS_OF_ONE_SERVER, "cluster|slots"], "~{session}:*")
    for operation in KEPT + ENDING:
        assert refusal(operation, prepared(operation)) is None
