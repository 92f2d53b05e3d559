"""
If Redis refuses a command, nothing is written, nothing is lost, and the error gives the reason.
"""

import asyncio
import shutil
from pathlib import Path

import pytest
import redis

from sessions_redis import registry
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.registry import statistics
from sessions_redis.storage.commands import session_id
from sessions_redis.storage.entries import IP
from tests.servers import Server, wait_until

DOCS = (Path(__file__).parent.parent / "docs" / "redis.md").read_text()
(RULE,) = [line.split() for line in DOCS.splitlines() if line.startswith("ACL SETUSER")]
COMMANDS = [word.removeprefix("+") for word in RULE if word.startswith("+")]

# Keys that the user may use. One kind is left out, as a site might do by mistake.
KEYS = {
    "sessions alone": ["session:[0-9a-f]*"],
    "no sessions": ["session:index*", "session:user:*"],
    "no index": ["session:[0-9a-f]*", "session:index:*", "session:user:*"],
    "no halves": ["session:[0-9a-f]*", "session:index", "session:user:*"],
    "no users": ["session:[0-9a-f]*", "session:index*"],
}

# Configurations with which a server refuses writes, and its error for each.
SERVERS = {
    "out of memory": ({"maxmemory": "1"}, {"maxmemory": "0"}, "maxmemory"),
    "without replicas": ({"min-replicas-to-write": 1}, {"min-replicas-to-write": 0}, "replicas"),
}


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A server with the documented user. The tests take permissions from that user."""
    server = Server(tmp_path_factory.mktemp("refusing"))
    with server.client() as client:
        client.execute_command(*RULE)
        client.config_set("stop-writes-on-bgsave-error", "no")
    yield server
    server.stop()


@pytest.fixture
def admin(own):
    with redis.Redis(port=own.port, db=1) as client:
        yield client


def saved(**entries):
    session = SessionStore()
    session.update(entries)
    session.save()
    return session


def changed(session, **entries):
    session.update(entries)
    session.save()


def lasting(session, seconds):
    session.set_expiry(seconds)
    session.save()


def signed_out(session):
    del session["_auth_user_id"]
    session.save()


def cleared(session):
    session.clear()
    session.save()


def noted(session):
    session.metadata_source = lambda: {IP: b"203.0.113.7"}
    session.note_metadata()


def cycled_elsewhere(session):
    # Another request was faster.
    SessionStore(session.session_key).cycle_key()


# The operations. ``it`` is a loaded session of user 7. Some need a preparation.
OPERATIONS = {
    "load": lambda it: dict(SessionStore(it.session_key).load()),
    "exists": lambda it: it.exists(it.session_key),
    "create": lambda it: saved(color="red") is None,
    "create, signed in": lambda it: saved(_auth_user_id="7") is None,
    "create, the first of a user": lambda it: saved(_auth_user_id="9") is None,
    "save": lambda it: changed(it, color="blue"),
    "touch": lambda it: it.save(),
    "remove": lambda it: (it.pop("color"), it.save()),
    "shorten": lambda it: lasting(it, 60),
    "expire": lambda it: lasting(it, -1),
    "clear": cleared,
    "sign in as another": lambda it: changed(it, _auth_user_id="8"),
    "sign out": signed_out,
    "cycle": lambda it: it.cycle_key(),
    "cycle and sign out": lambda it: (it.pop("_auth_user_id"), it.cycle_key()),
    "create beside": lambda it: it.cycle_key(),
    "increment": lambda it: it.increment("counter"),
    "inspect": lambda it: sorted(it.inspect().fields),
    "note": noted,
    "delete": lambda it: it.delete(),
    "delete nothing": lambda it: it.delete("x" * 32),
    "flush": lambda it: it.flush(),
    "count": lambda it: registry.count(),
    "latest": lambda it: len(registry.latest()),
    "latest, soonest first": lambda it: len(
        registry.latest(selection=registry.Selection(latest_first=False))
    ),
    "latest of users": lambda it: len(
        registry.latest(selection=registry.Selection(users=("7", "8")))
    ),
    "count of users": lambda it: registry.count(registry.Selection(users=("7", "8"))),
    "find": lambda it: registry.find(session_id(it.session_key)).user_pk,
    "starting_with": lambda it: len(registry.starting_with(session_id(it.session_key)).sessions),
    "entries": lambda it: len(registry.find(session_id(it.session_key)).entries()),
    "of_user": lambda it: len(registry.of_user("7")),
    "end": lambda it: registry.end(session_id(it.session_key)),
    "end_many": lambda it: len(registry.end_many([session_id(it.session_key), "0" * 32])),
    "end_all_of": lambda it: registry.end_all_of("7"),
    "end_all_of, but one": lambda it: registry.end_all_of("7", it.session_key),
    "aend_all_of": lambda it: asyncio.run(registry.aend_all_of("7")),
    "by_time_left": lambda it: registry.by_time_left([0, 10**9]),
    "trim": lambda it: registry.trim(),
    "measure": lambda it: statistics.measure(10).live,
}
NEEDS_INDEX = {
    "count", "latest", "latest, soonest first", "of_user", "end_all_of", "end_all_of, but one",
    "aend_all_of", "by_time_left", "measure", "latest of users", "count of users",
    "starting_with",
}  # fmt: skip
BEFORE = {"create beside": cycled_elsewhere}


class Site:
    """A site whose Redis user has the documented permissions, until a test takes some away."""

    def __init__(self, settings, own, admin, known):
        self.settings, self.admin, self.known = settings, admin, known
        url = own.url.replace("redis://", "redis://sessions:password@").replace("/0", "/1")
        self.setting = {"LOCATION": url}

    def prepared(self, operation, *, indexed=True):
        """
        A loaded session of user 7, who has another one; anonymous sessions; and members without
        sessions.
        """
        self.admin.execute_command(*RULE)
        self.admin.delete(*self.admin.keys("session:*"), "any")
        self.settings.SESSION_REDIS = {**self.setting, "INDEX": indexed}
        session = SessionStore(saved(_auth_user_id="7", color="red", counter=1).session_key)
        session.get("color")
        saved(_auth_user_id="7")
        saved()
        BEFORE.get(operation, lambda session: None)(session)
        if indexed:
            for index in ("index", "index:signed-in", "user:7"):
                members = {"dead": 1, "f" * 32: self.admin.time()[0] + 9000}
                self.admin.zadd(f"session:{index}", members)
        return session

    def connect_anew(self):
        self.settings.SESSION_REDIS = {**self.settings.SESSION_REDIS}

    def expected(self, operation, *, indexed):
        """The result and the data of an operation that nothing refuses."""
        if (operation, indexed) not in self.known:
            session = self.prepared(operation, indexed=indexed)
            returned = OPERATIONS[operation](session)
            self.known[operation, indexed] = (returned, self.shape())
        return self.known[operation, indexed]

    def held(self):
        """All data with its expiry, without expired members of indexes."""
        return {
            key: (self._contents(key), self.admin.pexpiretime(key))
            for key in self.admin.keys("session:*")
        }

    def shape(self):
        """The kinds of keys, without their names and times."""
        return sorted(
            [str(name) for name in sorted(contents)]
            if isinstance(contents, dict)
            else [str(len(contents))]
            for contents, _ in self.held().values()
        )

    def _contents(self, key):
        if self.admin.type(key) == b"hash":
            return self.admin.hgetall(key)
        return self.admin.zrangebyscore(key, 2, "inf", withscores=True)


@pytest.fixture(scope="module")
def known():
    """The results of operations that nothing refuses. They are found out once."""
    return {}


@pytest.fixture
def site(settings, own, admin, known):
    return Site(settings, own, admin, known)


def outcome(operation, session):
    """The result of an operation, or the text of Redis's refusal."""
    try:
        return OPERATIONS[operation](session), None
    except SessionStoreUnavailable as error:
        return None, str(error)


def refusals(site, refuse, allow=lambda: None, *, indexed=True):
    """
    Run all operations while ``refuse()`` is in force.

    Each operation writes nothing and raises, or works as usual. Returns the texts of the errors.
    """
    said = {}
    for operation in OPERATIONS:
        if not indexed and operation in NEEDS_INDEX:
            continue
        expected = site.expected(operation, indexed=indexed)
        session = site.prepared(operation, indexed=indexed)
        before = site.held()
        refuse()
        site.connect_anew()
        returned, refused = outcome(operation, session)
        allow()
        if refused is None:
            assert (operation, returned, site.shape()) == (operation, *expected)
        else:
            assert (operation, site.held()) == (operation, before)
            said[operation] = refused
    return said


@pytest.mark.parametrize(
    ("command", "indexed"),
    [
        *[(command, True) for command in COMMANDS],
        *[(command, False) for command in COMMANDS if not command.startswith("z")],
    ],
)
def test_a_command_that_is_not_allowed(site, admin, command, indexed):
    """If any command is forbidden, the error names it, and no operation is half done."""

    def refuse():
        allowed = [f"+{other}" for other in COMMANDS if other != command]
        admin.execute_command("ACL", "SETUSER", "sessions", "-@all", *allowed)
        admin.script_flush()

    said = refusals(site, refuse, indexed=indexed)
    name = command.replace("|", " ").split()[0]
    assert {done: text for done, text in said.items() if f"'{name}" not in text.lower()} == {}
    assert all("docs/redis.md" in text for text in said.values())
    # Statistics do without the memory that sessions take.
    assert said or not indexed or command == "memory|usage"


@pytest.mark.parametrize("allowed", KEYS)
def test_keys_that_are_not_allowed(site, admin, allowed):
    """If the user may use only some of the keys, no session disappears from an index."""

    def refuse():
        patterns = [f"~{pattern}" for pattern in KEYS[allowed]]
        admin.execute_command("ACL", "SETUSER", "sessions", "resetkeys", *patterns)

    assert refusals(site, refuse)


@pytest.mark.parametrize("reason", SERVERS)
def test_a_server_that_does_not_write(site, admin, reason):
    """A server that is full, or has lost its replicas, refuses a write completely."""
    refusing, usual, word = SERVERS[reason]

    def set_to(options):
        for name, value in options.items():
            admin.config_set(name, value)

    said = refusals(site, lambda: set_to(refusing), lambda: set_to(usual))
    assert {"create", "save", "cycle", "increment"} <= said.keys()
    assert all(word in text for text in said.values())


def test_a_server_that_cannot_save(site, admin, own):
    """A server that cannot write its snapshots to disk refuses a write completely."""
    shutil.rmtree(own.folder)
    admin.config_set("save", "900 1")
    admin.bgsave()
    wait_until(
        lambda: admin.info("persistence")["rdb_last_bgsave_status"] == "err", "saving has failed"
    )
    try:
        said = refusals(
            site,
            lambda: admin.config_set("stop-writes-on-bgsave-error", "yes"),
            lambda: admin.config_set("stop-writes-on-bgsave-error", "no"),
        )
    finally:
        admin.config_set("save", "")
    assert {"create", "save", "cycle", "increment", "delete", "end_all_of"} <= said.keys()
    assert all("persist to disk" in text for text in said.values())


def test_a_replica(site, admin):
    """A replica refuses a write completely."""
    said = refusals(
        site, lambda: admin.replicaof("127.0.0.1", 1), lambda: admin.replicaof("NO", "ONE")
    )
    assert {"create", "save", "cycle", "increment", "delete", "end_all_of"} <= said.keys()
    assert all("read only replica" in text for text in said.values())


@pytest.mark.parametrize("command", ["HSET", "PEXPIREAT", "ZADD"])
def test_a_command_that_was_renamed(settings, tmp_path, command):
    """If a command was renamed, an operation that needs it says so and writes nothing."""
    server = Server(tmp_path, "--rename-command", command, "")
    try:
        settings.SESSION_REDIS = {"LOCATION": server.url}
        with pytest.raises(SessionStoreUnavailable, match=f"no command '{command}'"):
            saved(_auth_user_id="7")
        with server.client() as client:
            assert client.dbsize() == 0
    finally:
        server.stop()
