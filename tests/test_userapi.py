"""Tests ``GET /api/user/<username>`` on a real server."""

import asyncio
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest
from django.contrib.auth.models import User
from django.test import AsyncClient, Client
from hypothesis import HealthCheck, assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sessions_redis.engine import SessionStore
from sessions_redis.storage.commands import session_id
from tests.servers import Server, free_port, wait_until
from tests.site import use_site

LINE = ("userapi", logging.INFO, "There is no active session.")

# All examples of a test share its fixtures, so each begins with a new client.
examples = hypothesis_settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
NAMES = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=150).filter(
    str.strip
)


@pytest.fixture(autouse=True)
def site(settings, session_redis, caplog):
    use_site(settings)
    caplog.set_level(logging.INFO, logger="userapi")


def get(client, name, **headers):
    return client.get(f"/api/user/{quote(name, safe='')}", headers=headers)


def lines(caplog):
    """What the API logged about statuses since the last call."""
    logged = [line for line in caplog.record_tuples if line == LINE]
    caplog.clear()
    return logged


def calls(raw):
    """How often the server ran each command, without the calls of this function."""
    stats = {name: stat["calls"] for name, stat in raw.info("commandstats").items()}
    return {name: count for name, count in stats.items() if name != "cmdstat_info"}


# Sessions


def test_the_first_visit_starts_a_session(client, caplog):
    """Returns name and session ID in this order, sets the cookie, logs, and stores the status."""
    response = get(client, "noah")
    cookie = response.cookies["session-id"]
    assert response.status_code == 200
    assert response.content.decode() == f'{{"userName": "noah", "sessionId": "{cookie.value}"}}'
    assert response["Content-Type"] == "application/json"
    assert response["Cache-Control"] == "no-store"
    assert response["Vary"] == "Cookie"
    assert (cookie["max-age"], cookie["path"], cookie["samesite"]) == (900, "/", "Lax")
    assert cookie["httponly"] is True
    assert lines(caplog) == [LINE]
    session = SessionStore(cookie.value)
    assert dict(session.items()) == {"scope:noah:sessionStatus": "ACTIVE"}
    assert dict(session.scope("noah")) == {"sessionStatus": "ACTIVE"}


def test_the_lifetime_is_900_seconds_from_the_write(client, raw, prefix):
    """The hash expires 900 seconds after its time of update."""
    key = get(client, "noah").json()["sessionId"]
    redis_key = f"{prefix}:{session_id(key)}"
    updated = int(raw.hget(redis_key, "@updated"))
    assert updated + 900 <= raw.pexpiretime(redis_key) / 1000 < updated + 901


def test_a_repeated_visit_writes_nothing(client, caplog, raw, prefix):
    """A repeated visit takes one HGETALL: no log line, no cookie, no write, no renewal."""
    first = get(client, "noah").json()
    redis_key = f"{prefix}:{session_id(first['sessionId'])}"
    stored = raw.hgetall(redis_key), raw.pexpiretime(redis_key)
    lines(caplog)

    before = calls(raw)
    again = get(client, "noah")
    after = calls(raw)

    assert {name: count - before.get(name, 0) for name, count in after.items()} == {
        **dict.fromkeys(after, 0),
        "cmdstat_hgetall": 1,
    }
    assert again.json() == first
    assert not again.cookies
    assert lines(caplog) == []
    assert (raw.hgetall(redis_key), raw.pexpiretime(redis_key)) == stored


def test_another_name_in_the_same_session(client, caplog):
    """Another name gets its own status in the same session, and the first keeps its own."""
    key = get(client, "noah").json()["sessionId"]
    lines(caplog)
    assert get(client, "ada").json() == {"userName": "ada", "sessionId": key}
    assert lines(caplog) == [LINE]
    session = SessionStore(key)
    session.scope("ada")["sessionStatus"] = "GONE"
    session.save()
    assert get(client, "noah").json()["sessionId"] == key
    assert dict(SessionStore(key).scope("noah")) == {"sessionStatus": "ACTIVE"}
    assert dict(SessionStore(key).scope("ada")) == {"sessionStatus": "GONE"}
    assert lines(caplog) == []


def test_two_visitors_of_one_name(client):
    """Each visitor has their own session, even with the same name."""
    assert get(client, "noah").json() != get(Client(), "noah").json()


@pytest.mark.django_db
def test_a_visitor_who_is_signed_in(client):
    """The status goes into the visitor's session, and they stay signed in."""
    client.force_login(User.objects.create_user("noah"))
    key = client.cookies["session-id"].value
    assert get(client, "noah").json()["sessionId"] == key
    assert SessionStore(key)["_auth_user_id"] == str(User.objects.get().pk)


def test_a_session_that_has_ended(client, caplog):
    """A cookie of an ended session starts a new session."""
    key = get(client, "noah").json()["sessionId"]
    SessionStore(key).delete()
    lines(caplog)
    response = get(client, "noah")
    assert response.json()["sessionId"] == response.cookies["session-id"].value != key
    assert lines(caplog) == [LINE]
    assert not SessionStore().exists(key)


@pytest.mark.parametrize(
    "cookie",
    ["x" * 32, "short", '""', "", "*", "a" * 60_000, "index-of-all", "user:1:sessions", "ÿ" * 9],
)
def test_an_unknown_cookie_is_never_adopted(client, cookie):
    """A cookie with an unknown key gets a new key and a new cookie."""
    response = get(client, "noah", cookie=f"session-id={cookie}")
    key = response.json()["sessionId"]
    assert response.status_code == 200
    assert len(key) == 32
    assert key != cookie
    assert response.cookies["session-id"].value == key
    assert not SessionStore().exists(cookie)


@examples
@given(cookie=st.text(st.characters(max_codepoint=0xFF, exclude_categories=["Cc"])))
def test_a_hostile_cookie_gets_a_fresh_session(cookie):
    """Any hostile cookie starts a new session."""
    response = get(Client(), "noah", cookie=f"session-id={cookie}")
    assert response.status_code == 200
    assert response.cookies["session-id"].value == response.json()["sessionId"] != cookie


def test_a_session_that_ends_during_the_request(client, caplog):
    """The session does not come back: 409, the cookie stays, and trying again works."""
    key = get(client, "noah").json()["sessionId"]

    class EndsTheSession(logging.Handler):
        """The log line comes between reading and writing the session."""

        def emit(self, record):
            SessionStore(key).delete()

    handler = EndsTheSession()
    logging.getLogger("userapi").addHandler(handler)
    try:
        response = get(client, "ada")
    finally:
        logging.getLogger("userapi").removeHandler(handler)
    assert response.status_code == 409
    assert list(response.json()) == ["error"]
    assert not response.cookies
    assert not SessionStore().exists(key)
    again = get(client, "ada")
    assert again.status_code == 200
    assert again.json()["sessionId"] != key


def test_head(client):
    """HEAD does the same as GET, without the body."""
    response = client.head("/api/user/noah")
    assert response.status_code == 200
    assert response.content == b""
    key = response.cookies["session-id"].value
    assert get(client, "noah").json()["sessionId"] == key


def test_under_asgi():
    """The view gives the same responses under ASGI."""

    async def visit_twice():
        client = AsyncClient()
        return [(await client.get("/api/user/noah")).json() for _ in range(2)]

    first, again = asyncio.run(visit_twice())
    assert first == again
    assert dict(SessionStore(first["sessionId"]).scope("noah")) == {"sessionStatus": "ACTIVE"}


# Names


@pytest.mark.parametrize(
    "name",
    [
        "a/b",
        "/",
        "noah/",
        "..",
        "a:b",
        "%",
        "%2F",
        "%25FF",
        "a?b#c&d=e;f+g",
        " noah ",
        "Noah van der Berg",
        "مريم",
        "\u200fمريم\u200e",
        "🦊👩‍👩‍👧",
        "e\u0301",
        "\u200b",
        "a\u2028b\u2029c",
        "</script>'\"\\",
        "n" * 150,
        "🦊" * 150,
    ],
)
def test_a_name_comes_back_as_given(client, name):
    """Any name is returned unchanged, has its status, and keeps its session."""
    first = get(client, name)
    assert first.json()["userName"] == name
    key = first.json()["sessionId"]
    assert get(client, name).json()["sessionId"] == key
    assert dict(SessionStore(key).scope(name)) == {"sessionStatus": "ACTIVE"}


def test_names_are_readable_json(client):
    """Names that are not ASCII are sent as UTF-8."""
    assert '"userName": "مريم"' in get(client, "مريم").content.decode()


def test_a_name_that_is_no_utf8(client):
    """Bytes that are not UTF-8 stay percent-encoded, as in Django."""
    assert client.get("/api/user/%FFa").json()["userName"] == "%FFa"


@examples
@given(name=NAMES)
def test_any_name_comes_back(name):
    """Every Unicode name is returned unchanged, in a session with only its status."""
    answer = get(Client(), name).json()
    assert answer["userName"] == name
    session = SessionStore(answer["sessionId"])
    assert dict(session.scope(name)) == {"sessionStatus": "ACTIVE"}
    assert len(session.keys()) == 1


@examples
@given(first=NAMES, second=NAMES)
def test_two_names_never_share_a_status(first, second):
    """The status of one name does not count for another."""
    assume(first != second)
    client = Client()
    key = get(client, first).json()["sessionId"]
    assert dict(SessionStore(key).scope(second)) == {}
    assert get(client, second).json() == {"userName": second, "sessionId": key}
    assert len(SessionStore(key).keys()) == 2


# Refusals


def assert_refused(response, status):
    """The response is a JSON error that is not cached, and keeps the visitor's cookie."""
    assert response.status_code == status
    assert response["Content-Type"] == "application/json"
    assert response["Cache-Control"] == "no-store"
    assert list(json.loads(response.content)) == ["error"]
    assert not response.cookies


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "\u00a0\u3000\u2028",
        "a\nb",
        "\n",
        "a\x00",
        "\x7f",
        "\x85a",
        "n" * 151,
        "n" * 60_000,
    ],
)
def test_a_name_that_is_refused(client, name, caplog):
    """
    An empty name, a name that is too long or one with control characters: 400, and no session.
    """
    assert_refused(get(client, name), 400)
    assert lines(caplog) == []


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "X"])
def test_a_method_that_is_refused(method, caplog):
    """Other methods than GET and HEAD: 405 with Allow, not the CSRF page, and no session."""
    response = Client(enforce_csrf_checks=True).generic(method, "/api/user/noah")
    assert_refused(response, 405)
    assert response["Allow"] == "GET, HEAD"
    assert lines(caplog) == []


@pytest.mark.parametrize("path", ["/api/user", "/api/", "/api/users/noah", "/api/user\n"])
def test_an_address_that_is_not_there(client, path):
    """Unknown URLs below /api/ are a 404 in JSON."""
    assert_refused(client.get(quote(path)), 404)


# The names in a session


def with_names(count):
    """A visitor whose session has this many names, ``name-0`` and so on, and the session key."""
    client = Client()
    key = get(client, "name-0").json()["sessionId"]
    session = SessionStore(key)
    for number in range(1, count):
        session.scope(f"name-{number}")["sessionStatus"] = "ACTIVE"
    session.save()
    return client, key


def names_in(key):
    entries = list(SessionStore(key).keys())
    return {entry.split(":")[1] for entry in entries if entry.startswith("scope:")}


def test_a_session_takes_fifty_names(caplog, contents):
    """The 51st name gets a 429 and writes nothing. The others still work."""
    client, key = with_names(49)
    assert get(client, "a:b").status_code == 200
    lines(caplog)
    before = contents()
    refused = get(client, "one more")
    assert_refused(refused, 429)
    assert "50" in refused.json()["error"]
    assert client.head("/api/user/one%20more").status_code == 429
    assert {get(client, name).json()["sessionId"] for name in ("name-0", "a:b")} == {key}
    assert lines(caplog) == []
    assert contents() == before
    assert get(Client(), "one more").status_code == 200


def test_the_names_of_a_session_are_counted_not_its_entries(client):
    """Other entries in the session do not count as names."""
    session = SessionStore(get(client, "noah").json()["sessionId"])
    for number in range(60):
        session[f"entry-{number}"] = number
        session.scope("noah")[f"entry-{number}"] = number
    session.save()
    assert get(client, "ada").status_code == 200


def test_many_names_at_a_time():
    """Concurrent requests may each add one name over the limit. Later ones are refused."""
    client, key = with_names(49)
    with ThreadPoolExecutor(8) as threads:
        visitors = [Client(headers={"cookie": f"session-id={key}"}) for _ in range(60)]
        answers = threads.map(get, visitors, [f"new-{number}" for number in range(60)])
        statuses = {answer.status_code for answer in answers}
    assert statuses == {200, 429}
    assert 50 <= len(names_in(key)) < 50 + 8
    assert_refused(get(client, "one more"), 429)


# Redis away


@pytest.fixture
def mortal(settings, session_redis, tmp_path):
    """A server for the sessions of this test only."""
    server = Server(tmp_path, "--appendonly", "yes", "--appendfsync", "always")
    settings.SESSION_REDIS = {**session_redis, "LOCATION": server.url}
    yield server
    server.stop()


def assert_unavailable(response):
    assert_refused(response, 503)
    assert int(response["Retry-After"]) > 0


def test_redis_is_away(mortal, client, caplog):
    """503 with Retry-After. The cookie and the session stay."""
    before = get(client, "noah").json()
    mortal.stop()
    caplog.clear()
    assert_unavailable(get(client, "noah"))
    assert_unavailable(get(Client(), "noah"))
    # Only the log has the address of Redis.
    assert f"127.0.0.1:{mortal.port}" in caplog.text
    mortal.start()
    assert get(client, "noah").json() == before


REFUSALS = {
    "full": {"maxmemory": "1", "maxmemory-policy": "noeviction"},
    "without its replicas": {"min-replicas-to-write": "1"},
}


@pytest.fixture(params=[*REFUSALS, "a replica"])
def read_only(request, mortal):
    """``read_only.begin()`` and ``read_only.end()``: the server refuses writes in between."""

    class ReadOnly:
        def begin(self):
            with mortal.client() as client:
                for name, value in REFUSALS.get(request.param, {}).items():
                    client.config_set(name, value)
                if request.param == "a replica":
                    client.replicaof("127.0.0.1", free_port())

        def end(self):
            with mortal.client() as client:
                client.config_set("maxmemory", "0")
                client.config_set("min-replicas-to-write", "0")
                client.replicaof("NO", "ONE")
                wait_until(lambda: client.info("replication")["role"] == "master", "it writes")

    return ReadOnly()


def test_redis_refuses_to_write(read_only, client):
    """
    A request that must write gets a 503 and keeps its cookie. A request that only reads works.
    """
    before = get(client, "noah").json()
    read_only.begin()
    assert get(client, "noah").json() == before
    assert_unavailable(get(client, "ada"))
    assert_unavailable(get(Client(), "noah"))
    assert_unavailable(get(client, "noah", cookie="session-id=" + "x" * 32))
    read_only.end()
    assert get(client, "ada").json()["sessionId"] == before["sessionId"]
    assert get(client, "noah").json() == before
