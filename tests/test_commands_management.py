"""Tests the management commands that end and count sessions."""

import json
import re
import time
from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from sessions_redis import registry
from sessions_redis.management.commands import sessionstats
from sessions_redis.registry import inspection
from sessions_redis.registry.inspection import Inspection
from sessions_redis.signals import session_ended
from sessions_redis.sizes import shown_size
from sessions_redis.storage.commands import session_id
from sessions_redis.storage.servers import Memory
from tests.people.models import Employee, Person
from tests.servers import Server, free_port
from tests.test_refusals import RULE
from tests.test_registry import ids, put_in_index, started

UNKNOWN = "0123456789abcdef" * 2


def run(name, *arguments, **options):
    """Run a command. Returns its output."""
    out = StringIO()
    call_command(name, *arguments, stdout=out, **options)
    return out.getvalue()


@pytest.fixture
def away(settings, session_redis):
    settings.SESSION_REDIS = {**session_redis, "LOCATION": f"redis://127.0.0.1:{free_port()}"}


@pytest.fixture
def unindexed(settings, session_redis):
    settings.SESSION_REDIS = {**session_redis, "INDEX": False}


# endsessions


@pytest.fixture
def users(db):
    """Ada has three sessions, Bob one, and Eve none. One more user has no name."""
    users = {name: User.objects.create_user(name) for name in ("ada", "bob", "eve")}
    for name in ("ada", "ada", "ada", "bob"):
        started(str(users[name].pk))
    started()
    return users


def test_ending_the_sessions_of_users(users):
    """All sessions of the given users end, and the output has their number. Others stay."""
    assert run("endsessions", "ada", "eve") == "ada: 3 sessions ended\neve: 0 sessions ended\n"
    assert registry.of_user(users["ada"]) == []
    assert len(registry.of_user(users["bob"])) == 1
    assert run("endsessions", "bob") == "bob: 1 session ended\n"
    assert registry.count() == 1


def test_a_user_who_is_named_twice(users):
    """A user who is given twice appears once."""
    assert run("endsessions", "ada", "ada") == "ada: 3 sessions ended\n"


def test_all_but_the_newest(users, raw, prefix):
    """Each user keeps the newest session."""
    for age, session in enumerate(registry.of_user(users["ada"])):
        raw.hset(f"{prefix}:{session.id}", "@created", 1_000_000 - age)
    newest = ids(registry.of_user(users["ada"]))[:1]
    said = run("endsessions", "ada", "bob", "eve", "--all-but-newest")
    assert said == "ada: 2 sessions ended\nbob: 0 sessions ended\neve: 0 sessions ended\n"
    assert ids(registry.of_user(users["ada"])) == newest
    assert len(registry.of_user(users["bob"])) == 1


def test_the_signal_of_the_command(users):
    """The command sends the signal session_ended, as the registry does."""
    ended = []

    def receive(*, user_pk, reason, **kwargs):
        ended.append((user_pk, reason))

    session_ended.connect(receive)
    run("endsessions", "bob")
    session_ended.disconnect(receive)
    assert ended == [(str(users["bob"].pk), "ended")]


def test_unknown_names(users):
    """If a user does not exist, nothing ends, and the error lists all unknown names."""
    with pytest.raises(CommandError, match="there is no user 'adam', 'evelyn'") as error:
        run("endsessions", "ada", "adam", "bob", "evelyn")
    assert "No sessions were ended" in str(error.value)
    assert "Give the username that each user signs in with" in str(error.value)
    assert registry.count() == 5


def test_no_names():
    """Without names, the command is an error and ends nothing."""
    with pytest.raises(CommandError, match="username"):
        run("endsessions")


def test_users_of_another_kind(db, settings):
    """Users are given by USERNAME_FIELD, for any primary key."""
    settings.AUTH_USER_MODEL = "people.Person"
    person = Person.objects.create(email="ada@example.com")
    started(str(person.pk))
    assert run("endsessions", "ada@example.com") == "ada@example.com: 1 session ended\n"
    with pytest.raises(CommandError, match=r"no user 'ada'\. Give the email "):
        run("endsessions", "ada")
    settings.AUTH_USER_MODEL = "people.Employee"
    employee = Employee.objects.create(person=person)
    started(str(employee.pk))
    with pytest.raises(CommandError, match="no user 'ada'"):
        run("endsessions", str(person.pk), "ada")
    assert run("endsessions", str(person.pk)) == f"{person.pk}: 1 session ended\n"


@pytest.mark.parametrize("fixture", ["away", "unindexed"])
def test_sessions_cannot_be_ended(request, users, fixture):
    """A failure is an error message, not a traceback."""
    request.getfixturevalue(fixture)
    with pytest.raises(CommandError, match=r"Is it running|Set it to True"):
        run("endsessions", "ada")


# sessionstats


def figures():
    return json.loads(run("sessionstats", "--json"))


def counts(*arguments):
    """The first part of the output, about the sessions."""
    return run("sessionstats", *arguments).partition("\n\n")[0].splitlines()


def test_an_empty_store():
    """Without sessions, the counts are 0 and the estimates missing."""
    assert counts() == [
        "live                         0",
        "signed in                    0",
        "anonymous                    0",
        "expired, still in the index  0",
        "memory per session           -",
        "in the index, but gone       -",
    ]
    assert (
        figures().items()
        >= {
            "live": 0,
            "signed_in": 0,
            "anonymous": 0,
            "expired": 0,
            "sampled": 0,
            "bytes_per_session": None,
            "drift": None,
        }.items()
    )


def test_statistics(raw, prefix):
    """The output has the counts, and estimates from the sample."""
    sessions = [started("1"), started("2"), started("2"), started()]
    said = figures()
    sizes = [raw.memory_usage(f"{prefix}:{id}") for id in sessions]
    assert (said["live"], said["signed_in"], said["anonymous"]) == (4, 3, 1)
    assert (said["sampled"], said["drift"]) == (4, 0)
    assert said["bytes_per_session"] == sum(sizes) / 4


def test_a_large_entry(raw, prefix):
    """The memory of a session includes all its entries, once each."""
    entries = {f"entry-{number}": number for number in range(50)}
    id = started("1", **entries, photo="x" * 200_000)
    size = figures()["bytes_per_session"]
    assert size == raw.memory_usage(f"{prefix}:{id}", samples=0)
    assert 200_000 < size < 250_000


def test_the_largest_sessions(raw, prefix):
    """The largest sessions of the sample are named, with what they take in Redis."""
    ids = [started(str(number), photo="x" * 5_000 * number) for number in range(7)]
    sizes = [raw.memory_usage(f"{prefix}:{id}", samples=0) for id in ids]
    # A hash that the server moves to a larger table takes some bytes more meanwhile.
    largest = figures()["largest"]
    assert [one["id"] for one in largest] == ids[::-1]
    assert [one["bytes"] for one in largest] == pytest.approx(sizes[::-1], abs=64)
    title, *lines = run("sessionstats").split("\n\n")[2].splitlines()
    assert title == "largest sessions of 7 sampled"
    assert [line.split()[0] for line in lines] == ids[:1:-1]
    assert lines[0].endswith(tuple(shown_size(sizes[6] + more) for more in range(-64, 65, 16)))


@pytest.mark.parametrize("protocol", [2, 3])
def test_drift(settings, session_redis, raw, prefix, protocol):
    """
    The share of sessions that the index lists but that no longer exist. Expired ones are separate.
    """
    settings.SESSION_REDIS = {**session_redis, "OPTIONS": {"protocol": protocol}}
    for _ in range(3):
        started("1")
    gone = [session_id(f"gone-{number}") for number in range(9)]
    put_in_index(raw, f"{prefix}:index", gone[:2], time.time() + 900)
    put_in_index(raw, f"{prefix}:index", gone[2:], time.time() - 900)
    raw.set(f"{prefix}:{gone[0]}", "no session", ex=9)
    said = figures()
    assert said["live"] == registry.count() == 5
    assert (said["sampled"], said["drift"], said["expired"]) == (5, 0.4, 7)
    lines = counts()
    assert lines[-1] == "in the index, but gone       40.0% of 5 sampled"
    assert lines[3].split() == ["expired,", "still", "in", "the", "index", "7"]


def test_all_have_expired(raw, prefix):
    """Expired sessions do not count in that share."""
    put_in_index(raw, f"{prefix}:index", [UNKNOWN], time.time() - 900)
    said = figures()
    assert (said["live"], said["sampled"], said["drift"], said["expired"]) == (0, 0, None, 1)


def test_everything_is_gone(raw, prefix):
    """If no session in the sample exists, the memory is missing."""
    put_in_index(raw, f"{prefix}:index", [UNKNOWN], time.time() + 900)
    said = figures()
    assert (said["drift"], said["bytes_per_session"]) == (1, None)


def test_a_smaller_sample():
    """The sample has at most the given number of sessions."""
    for _ in range(5):
        started()
    assert json.loads(run("sessionstats", "--json", "--sample", "3"))["sampled"] == 3
    assert json.loads(run("sessionstats", "--json", "--sample", "9999"))["sampled"] == 5


def test_the_text_is_aligned(raw, prefix):
    """Numbers are right-aligned and have thousands separators."""
    started("1")
    gone = [session_id(f"gone-{number}") for number in range(1233)]
    put_in_index(raw, f"{prefix}:index", gone, time.time() + 900)
    lines = counts("--sample", "1234")
    assert lines[0] == "live                         1,234"
    assert {line[: len("expired, still in the index  ")].rstrip() for line in lines} == {
        "live",
        "signed in",
        "anonymous",
        "expired, still in the index",
        "memory per session",
        "in the index, but gone",
    }
    assert len({len(line.split(" bytes")[0].split(" of ")[0]) for line in lines}) == 1


@pytest.mark.parametrize("size", ["0", "-1", "many"])
def test_a_sample_of_nothing(size):
    """A sample must have at least one session."""
    with pytest.raises(CommandError, match="sample"):
        run("sessionstats", "--sample", size)


@pytest.mark.parametrize("fixture", ["away", "unindexed"])
def test_statistics_cannot_be_had(request, fixture):
    """A failure is an error message, not a traceback."""
    request.getfixturevalue(fixture)
    with pytest.raises(CommandError, match=r"Is it running|Set it to True"):
        run("sessionstats")


# sessionstats: the server


def about_server(*arguments):
    """The second part of the output: its lines, by their labels."""
    lines = run("sessionstats", *arguments).split("\n\n")[1].splitlines()
    return dict(re.split(" {2,}", line, maxsplit=1) for line in lines)


@pytest.fixture
def own(settings, tmp_path):
    """A server of the test's own, with its administrator."""
    server = Server(tmp_path)
    settings.SESSION_REDIS = {"LOCATION": server.url}
    with server.client() as client:
        yield client
    server.stop()


def sign_in_users():
    """Two users with a hash of their password, of whom one has two sessions; and a visitor."""
    for user in ("1", "2", "2"):
        started(user, _auth_user_hash="f" * 64)
    started()


def test_an_empty_server(own):
    """Version and memory are those of the server. Nothing is estimated without a session."""
    said, info = about_server(), own.info()
    version = info.get("valkey_version", info["redis_version"])
    assert said["server"] == f"{info.get('server_name', 'redis').capitalize()} {version}"
    assert re.fullmatch(r"[\d.,]+ [kM]B", said["memory in use"])
    assert said["memory limit"] == "none"
    assert said["when its memory is full"] == "refuses to write (noeviction)"
    assert said["sessions survive a restart"] == "no"
    assert said["listings of a session"] == "not known"
    assert said["sessions stored compactly"] == "not known"


def test_the_configuration_of_the_server(own):
    """Limit, policy and persistence are those that were set."""
    own.config_set("maxmemory", "1500000000")
    own.config_set("maxmemory-policy", "allkeys-lru")
    own.config_set("save", "3600 1")
    said = about_server()
    assert said["memory limit"] == "1.5 GB"
    assert said["when its memory is full"] == "may remove sessions (allkeys-lru)"
    assert said["sessions survive a restart"] == "yes"
    assert figures()["maxmemory_policy"] == "allkeys-lru"


def test_the_memory_of_listings(own):
    """Each session's share of the indexes that list it, on average."""
    sign_in_users()

    def share(name):
        key = f"session:{name}"
        return own.memory_usage(key) / own.zcard(key)

    signed_in = share("index") + share("index:signed-in")
    each = [signed_in + share("user:1"), *[signed_in + share("user:2")] * 2]
    each.append(share("index") + share("index:anonymous"))
    assert figures()["bytes_of_listings_per_session"] == pytest.approx(sum(each) / 4)
    assert about_server()["listings of a session"] == f"{sum(each) / 4:.0f} bytes"


@pytest.mark.parametrize("protocol", [2, 3])
def test_how_sessions_are_stored(own, settings, protocol):
    """As the server says it, for up to 50 sessions."""
    settings.SESSION_REDIS = {**settings.SESSION_REDIS, "OPTIONS": {"protocol": protocol}}
    sign_in_users()
    own.config_set("hash-max-listpack-value", "64")
    sign_in_users()
    assert about_server()["sessions stored compactly"] == "5 of 8 sampled"
    assert figures()["encodings"] == {"listpack": 5, "hashtable": 3}
    for _ in range(50):
        started()
    assert about_server()["sessions stored compactly"].endswith(" of 50 sampled")
    assert about_server("--sample", "3")["sessions stored compactly"].endswith(" of 3 sampled")


def test_a_restricted_user(own, settings):
    """What the user may not ask is missing, and the output has the line that allows it."""
    sign_in_users()
    own.execute_command(*RULE)
    options = {"username": "sessions", "password": "password"}
    settings.SESSION_REDIS = {**settings.SESSION_REDIS, "OPTIONS": options}
    said = about_server()
    assert said["server"] == said["sessions survive a restart"] == "not known"
    assert "memory in use" not in said
    assert said["listings of a session"].endswith(" bytes")
    *_, remedy = run("sessionstats").split("\n\n")
    assert "some values are missing: INFO, OBJECT ENCODING." in remedy
    assert remedy.splitlines()[-1] == "ACL SETUSER <user> +info +object|encoding"
    found = figures()
    assert found["refused"] == ["info", "object|encoding"]
    assert found["server"] is found["memory_used"] is found["survives_restart"] is None
    own.execute_command("ACL", "SETUSER", "sessions", "+info", "+object|encoding")
    assert figures()["refused"] == []
    assert len(run("sessionstats").split("\n\n")) == 3


def test_a_user_who_may_not_measure(own, settings):
    """Without MEMORY USAGE, the counts are still right."""
    sign_in_users()
    own.execute_command(*RULE, "-memory|usage")
    options = {"username": "sessions", "password": "password"}
    settings.SESSION_REDIS = {**settings.SESSION_REDIS, "OPTIONS": options}
    found = figures()
    assert (found["live"], found["sampled"], found["drift"]) == (4, 4, 0)
    assert found["bytes_per_session"] is found["bytes_of_listings_per_session"] is None
    assert run("sessionstats").splitlines()[-1].endswith(" +memory|usage")


def test_a_server_without_a_policy():
    """A server that does not say its policy is not said to have one."""
    silent = Inspection((inspection.Server(None, Memory(9, 0, None), None, None, None),))
    assert dict(sessionstats._server_lines(silent))["when its memory is full"] == "not known"


def test_sessions_in_memory(settings):
    """With memory://, there is no server to say anything about, and the counts are right."""
    settings.SESSION_REDIS = {"LOCATION": "memory://statistics"}
    sign_in_users()
    said = run("sessionstats")
    assert said.splitlines()[0].split() == ["live", "4"]
    assert "\n\n" not in said
    found = figures()
    assert (found["live"], found["server"], found["survives_restart"]) == (4, None, None)


def test_an_index_of_another_type(own):
    """An index of another type is an error message, not a traceback."""
    own.set("session:index", "no index")
    with pytest.raises(CommandError, match="should be an index"):
        run("sessionstats")
