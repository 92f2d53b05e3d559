"""The checks of deployment that ask the server."""

import pytest
from django.core.checks import ERROR, INFO, WARNING, run_checks

from sessions_redis import checks, conf
from sessions_redis.checks import server as of_server
from sessions_redis.checks import versions
from sessions_redis.clients import perform
from sessions_redis.engine import SessionStore
from sessions_redis.registry.inspection import Inspection, Server, inspect
from sessions_redis.storage.commands import session_id
from sessions_redis.storage.servers import Identity, Memory, Persistence, Refusal
from tests import servers as processes
from tests.garbler import Garbler
from tests.proxy import Proxy
from tests.servers import free_port
from tests.test_refusals import RULE


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A server of these tests, whose configuration they change."""
    server = processes.Server(tmp_path_factory.mktemp("deployment"))
    yield server
    server.stop()


@pytest.fixture
def admin(own):
    """The server's administrator. The server starts empty, and as the docs recommend."""
    with own.client() as client:
        client.flushall()
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("hash-max-listpack-value", "256")
        client.config_set("save", "3600 1")
        yield client
        client.execute_command("ACL", "DELUSER", "sessions")


@pytest.fixture
def use(settings, own, admin):
    """Use that server, with these settings."""

    def use(**setting):
        settings.SESSION_REDIS = {"LOCATION": own.url, **setting}

    use()
    return use


@pytest.fixture
def found(use):
    """
    The messages of the checks that ask the server, by their IDs.

    W023 is left out. It depends on the version of the server that runs the tests.
    """

    def messages():
        by_id = {one.id.rpartition(".")[2]: one for one in checks.check_server()}
        by_id.pop("W023", None)
        return by_id

    return messages


def signed_in(user="7", **entries):
    """A session with the entries that Django's login stores. Returns its ID."""
    session = SessionStore()
    session.update({"_auth_user_id": user, "_auth_user_hash": "f" * 64, **entries})
    session.save()
    return session_id(session.session_key)


def inspected():
    return perform(inspect(conf.current().keyspace, 5))


# The server as a whole


def test_a_server_as_the_docs_recommend_it(found):
    """Nothing is found, with or without sessions."""
    assert found() == {}
    for user in "789":
        signed_in(user)
    SessionStore().create()
    assert found() == {}


@pytest.mark.parametrize("protocol", [2, 3])
def test_everything_at_once(found, use, admin, protocol):
    """Each finding has its ID, a level, and a hint. The protocol makes no difference."""
    use(OPTIONS={"protocol": protocol})
    admin.config_set("maxmemory-policy", "allkeys-lru")
    admin.config_set("hash-max-listpack-value", "64")
    admin.config_set("save", "")
    id = signed_in()
    signed_in("8")
    admin.set("session:user:8", "no index")
    admin.delete(f"session:{id}")
    admin.set(f"session:{id}", "no session")
    messages = found()
    levels = {id: one.level for id, one in messages.items()}
    assert levels == dict.fromkeys(["W009", "W016", "W017", "W021"], WARNING) | {"E020": ERROR}
    assert all(one.hint for one in messages.values())


def test_round_trips(settings, own, use):
    """Three round trips, whatever there is."""
    signed_in()
    SessionStore().create()
    with Proxy(own.port) as proxy:
        settings.SESSION_REDIS = {"LOCATION": proxy.url}
        SessionStore().exists("connects")
        assert proxy.counted(checks.check_server) == 3


def test_the_server_is_not_changed(found, admin):
    """The checks write nothing and leave expiry as it is."""
    signed_in()
    before = {key: admin.dump(key) for key in admin.scan_iter()}
    found()
    assert {key: admin.dump(key) for key in admin.scan_iter()} == before


def test_without_indexes(found, use, admin):
    """With INDEX off, the server is checked, but no session."""
    use(INDEX=False)
    admin.config_set("save", "")
    signed_in()
    admin.set("session:index", "not ours")
    assert found().keys() == {"W016"}


# E014


def test_a_server_that_is_away(settings, caplog):
    """One error says why. It is not logged as an outage, because no visitor met it."""
    settings.SESSION_REDIS = {"LOCATION": f"redis://127.0.0.1:{free_port()}"}
    given = run_checks(tags=["sessions_redis"], include_deployment_checks=True)
    (one,) = [one for one in given if one.id.startswith("sessions_redis.")]
    assert (one.id, one.level) == ("sessions_redis.E014", ERROR)
    assert "does not answer" in one.msg
    assert "503" in one.hint
    assert caplog.records == []


def test_a_server_that_does_not_let_the_site_in(found, use):
    """A wrong password is the same error. It does not appear in the message."""
    use(OPTIONS={"username": "nobody", "password": "hush"})
    (one,) = found().values()
    assert one.id == "sessions_redis.E014"
    assert "does not let this site in" in one.msg
    assert "hush" not in f"{one.msg} {one.hint}"


@pytest.mark.parametrize(
    "reply",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", b":7\r\n", b"-BUSY Redis is busy running a script.\r\n"],
)
def test_a_server_that_answers_something_else(found, use, own, reply):
    """Another program at that address, or a server that cannot answer now, is an error, too."""
    with Garbler(own.port) as garbler:
        use(LOCATION=garbler.url)
        garbler.garble(reply)
        assert found().keys() == {"E014"}


@pytest.mark.parametrize(
    "setting",
    [
        {"LOCATION": "memory://"},
        {"LOCATION": "embedded:///no/such/directory"},
        {"LOCATION": "redis://127.0.0.1:1", "OPTIONS": {"sockettimeout": 1}},
        {"LOCATION": "nonsense"},
        {},
        None,
    ],
)
def test_no_server_to_ask(settings, setting):
    """Nothing is found for development, or for settings with mistakes, which others report."""
    settings.SESSION_REDIS = setting
    assert checks.check_server() == []
    assert checks.check_network() == []
    assert checks.check_caches() == []


def test_another_engine(settings):
    """If the site uses another engine, no server is asked."""
    settings.SESSION_REDIS = {"LOCATION": "redis://127.0.0.1:1"}
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    assert checks.check_server() == []


# E015, W023, I024


def a_server(identity, **others):
    """A server as the docs recommend it that says this of itself."""
    said = {
        "identity": identity,
        "memory": Memory(1, 0, "noeviction"),
        "persistence": Persistence(appends=True, took_snapshot=False, changes=0),
        "save_points": "",
        "compact_limit": 256,
    }
    return Server(**said | others)


def found_in(*servers, sample=()):
    """The messages about these servers, by their IDs."""
    inspection = Inspection(servers, sample=sample)
    return {one.id.rpartition(".")[2]: one for one in of_server.problems(inspection)}


def said(identity, sample=(), **others):
    """The messages about a server that says this of itself, by their IDs."""
    return found_in(a_server(identity, **others), sample=sample)


@pytest.mark.parametrize(
    ("product", "version", "ids"),
    [
        ("Redis", "6.0.16", {"E015"}),
        ("Redis", "5.0.14", {"E015"}),
        ("Redis", "6.2.0", {"W023"}),
        ("Redis", "6.2.19", {"W023"}),
        ("Redis", "6.2.20", set()),
        ("Redis", "7.0.15", {"W023"}),
        ("Redis", "7.2.10", {"W023"}),
        ("Redis", "7.2.11", set()),
        ("Redis", "7.4.6", set()),
        ("Redis", "8.0.3", {"W023"}),
        ("Redis", "8.2.2", set()),
        ("Redis", "8.4.0", set()),
        ("Redis", "9.0.0", set()),
        ("Redis", "255.255.255", set()),
        ("Valkey", "7.2.10", {"W023"}),
        ("Valkey", "7.2.11", set()),
        ("Valkey", "8.1.3", {"W023"}),
        ("Valkey", "9.0.0", set()),
        ("Dragonfly", "df-v1.34.1", {"I024"}),
        ("KeyDB", "6.0.1", {"I024"}),
    ],
)
def test_versions(use, product, version, ids):
    """Too old ones are an error, known faults a warning, other servers are only named."""
    messages = said(Identity(product, version))
    assert messages.keys() == ids
    for one in messages.values():
        assert f"{product} {version}" in one.msg


def test_the_version_of_this_server(use):
    """The version that it says is checked, whichever it is."""
    inspection = inspected()
    has_faults = versions.has_faults_in_lua(inspection.identities[0])
    assert inspection.identities[0].is_known
    assert any(one.id == "sessions_redis.W023" for one in checks.check_server()) is has_faults


def test_versions_of_other_servers():
    """Nothing is known of their faults."""
    assert not versions.has_faults_in_lua(Identity("Dragonfly", "1.0.0"))


def test_the_packages_of_debian(use):
    """The hint says that an old number can be a repaired version."""
    hint = said(Identity("Redis", "7.0.15"))["W023"].hint
    assert "5:7.0.15-1~deb12u6" in hint
    assert "SILENCED_SYSTEM_CHECKS" in hint


def test_a_server_that_does_not_say_what_it_is(use):
    """It is not taken for an old one."""
    assert said(None, memory=Memory(0, 0, None), persistence=None) == {}


def test_how_other_servers_store_hashes(use, admin):
    """What is known of Redis' memory says nothing of other servers."""
    signed_in()
    sample = inspected().sample
    other = said(Identity("Dragonfly", "1"), compact_limit=None, sample=sample)
    assert other.keys() == {"I024"}


# W016


def test_a_server_without_persistence(found, admin):
    """With neither save points nor an append-only file it is a warning; with either it is not."""
    admin.config_set("save", "")
    message = found()["W016"]
    assert "keeps sessions in memory only" in message.msg
    assert "appendonly yes" in message.hint
    admin.config_set("appendonly", "yes")
    assert found() == {}
    admin.config_set("appendonly", "no")
    assert found().keys() == {"W016"}


def test_persistence_where_config_is_refused(found, use, admin, restricted):
    """A young server may still take its first snapshot, so nothing is said."""
    admin.config_set("save", "")
    restricted("+info", "+object|encoding")
    assert found() == {}


def test_persistence_of_an_old_server(use):
    """After an hour of changes without a snapshot, the warning says what it is based on."""
    nothing = Persistence(appends=False, took_snapshot=False, changes=5)
    old = Identity("Redis", "8.4.0", uptime=10_000)
    (one,) = said(old, persistence=nothing, save_points=Refusal("no")).values()
    assert one.id == "sessions_redis.W016"
    assert "no snapshot since it started" in one.msg


# W017


@pytest.mark.parametrize(
    ("limit", "warns"), [("64", True), ("255", True), ("256", False), ("1000", False)]
)
def test_a_small_limit_before_the_first_session(found, admin, limit, warns):
    """Without sessions, the limit of the server decides."""
    admin.config_set("hash-max-listpack-value", limit)
    assert ("W017" in found()) is warns


def test_what_a_small_limit_costs(found, admin):
    """With sessions, the warning says what they cost."""
    admin.config_set("hash-max-listpack-value", "64")
    for user in range(10):
        signed_in(str(user))
    SessionStore().create()
    message = found()["W017"].msg
    assert "has hash-max-listpack-value 64" in message
    assert "752 bytes in place of 408" in message
    assert "10 of 11 sessions" in message
    assert "For all 11 sessions in the index, it costs about 3.4 kB." in message


def test_a_small_limit_that_no_session_exceeds(found, admin):
    """If all sessions are stored compactly, there is nothing to gain."""
    admin.config_set("hash-max-listpack-value", "128")
    signed_in()
    assert found() == {}


def test_large_sessions(found):
    """If sessions exceed the recommended limit, the server is not to blame."""
    signed_in(photo="x" * 1000)
    assert found() == {}


def test_memory_where_config_is_refused(found, use, admin, restricted):
    """Then the sessions show it, if most of them are stored as Redis stores large ones."""
    restricted("+info", "+object|encoding")
    assert found() == {}
    signed_in()
    assert found() == {}
    admin.config_set("hash-max-listpack-value", "64")
    signed_in()
    assert found() == {}
    signed_in()
    message = found()["W017"].msg
    assert "seems to have a small hash-max-listpack-value" in message
    assert "2 of 3 sessions" in message


# E020 and W021


@pytest.mark.parametrize("name", ["index", "index:signed-in", "index:anonymous", "user:7"])
def test_an_index_of_another_type(found, admin, name):
    """It is an error that names the key."""
    signed_in()
    SessionStore().create()
    admin.delete(f"session:{name}")
    admin.hset(f"session:{name}", "a", "b")
    (one,) = found().values()
    assert one.id == "sessions_redis.E020"
    assert f"'session:{name}'" in one.msg
    assert ("of that user" in one.msg) is name.startswith("user")


def test_sessions_of_another_type(found, admin):
    """One warning says how many there are, and names some of them."""
    ids = [signed_in() for _ in range(6)]
    for id in ids[:5]:
        admin.delete(f"session:{id}")
        admin.rpush(f"session:{id}", "no session")
    (one,) = found().values()
    assert one.id == "sessions_redis.W021"
    assert "5 of 6 keys" in one.msg
    assert sum(f"session:{id}" in one.msg for id in ids) == 3


def test_members_without_a_session(found, admin):
    """The checks do not warn about members that have no session or are not IDs."""
    admin.zadd("session:index", {"f" * 32: 9e9, "nonsense": 9e9, b"\xff": 9e9})
    assert found() == {}


# I025


@pytest.fixture
def restricted(use, admin):
    """Let the site sign in as the restricted user of the docs, with further permissions."""

    def restricted(*allowed):
        admin.execute_command(*RULE, *allowed)
        use(OPTIONS={"username": "sessions", "password": "password"})

    return restricted


def test_the_restricted_user(found, admin, restricted):
    """One message says what was not checked, and what to allow. All others are checked."""
    admin.config_set("maxmemory-policy", "allkeys-lru")
    restricted()
    signed_in()
    admin.delete("session:index:signed-in")
    admin.set("session:index:signed-in", "no index")
    messages = found()
    assert messages.keys() == {"I025", "E020"}
    assert messages["I025"].level == INFO
    assert "run INFO and OBJECT ENCODING" in messages["I025"].msg
    assert "its version, its maxmemory-policy and its persistence" in messages["I025"].msg
    assert "+info +object|encoding" in messages["I025"].hint


def test_a_user_who_may_not_ask_for_the_version(found, admin, restricted):
    """How sessions are stored is checked nevertheless."""
    admin.config_set("hash-max-listpack-value", "64")
    restricted("+object|encoding")
    signed_in()
    assert found().keys() == {"W017", "I025"}


def test_a_user_who_lacks_a_command_of_the_line(found, restricted):
    """The site needs those, so it is an error that names the command."""
    restricted("+info", "+object|encoding", "-zcount")
    (one,) = found().values()
    assert one.id == "sessions_redis.E014"
    assert "'zcount'" in one.msg
    assert "A restricted user" in one.msg


@pytest.mark.parametrize(
    ("allowed", "words", "lacks"),
    [
        ("+info", "+object|encoding", "maxmemory-policy"),
        ("+object|encoding", "+info", "compactly"),
    ],
)
def test_a_user_who_may_do_a_part(found, restricted, allowed, words, lacks):
    """The message names only what is missing."""
    restricted(allowed)
    signed_in()
    one = found()["I025"]
    assert f"({words})" in one.hint
    assert lacks not in one.msg


def test_the_documented_line_for_checks(found, admin, restricted):
    """With the two commands that the docs name, nothing is left out."""
    admin.config_set("maxmemory-policy", "allkeys-lru")
    restricted("+info", "+object|encoding")
    signed_in()
    assert found().keys() == {"W009"}


def test_several_tenants(use, found, admin):
    """Without a current tenant, the server is checked, and no site's function is called."""
    asked = []
    admin.config_set("maxmemory-policy", "allkeys-lru")
    use(KEY_PREFIX=lambda: asked.append("the tenant"))
    assert found().keys() == {"W009"}
    assert asked == []
