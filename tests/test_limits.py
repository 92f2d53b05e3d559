"""`MAX_SESSION_BYTES`: how large a session may become."""

import asyncio
import pickle

import pytest
from django.core.exceptions import SuspiciousOperation
from django.http import HttpResponse
from django.test import AsyncClient, Client
from django.urls import path

from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionTooLarge
from sessions_redis.policies import rules_of_entries
from sessions_redis.storage.changes import Changes
from tests.workers import Worker, race

LIMIT = 1000


@pytest.fixture(autouse=True)
def limited(settings, session_redis):
    settings.SESSION_REDIS = {**session_redis, "MAX_SESSION_BYTES": LIMIT}
    return settings.SESSION_REDIS


@pytest.fixture
def unlimited(settings, session_redis, limited):
    """Sets whether there is a limit."""

    def change(is_unlimited=True):
        settings.SESSION_REDIS = session_redis if is_unlimited else limited

    return change


@pytest.fixture(params=["sync", "async"])
def call(request):
    def method(session, name, *arguments, **options):
        if request.param == "sync":
            return getattr(session, name)(*arguments, **options)
        return asyncio.run(getattr(session, f"a{name}")(*arguments, **options))

    return method


def reopened(session):
    return SessionStore(session.session_key)


def of_size(size):
    """The text that is so many bytes long in JSON."""
    return "x" * (size - 2)


# Each makes the session too large. It has the entry "color", which takes 10 bytes.
WRITES = {
    "save": lambda call, s: (s.update({"a": of_size(990)}), call(s, "save")),
    "save anew": lambda call, s: (s.clear(), s.update({"ab": of_size(999)}), call(s, "save")),
    "create": lambda call, s: (s.update({"a": of_size(990)}), call(s, "create")),
    "cycle": lambda call, s: (s.update({"a": of_size(990)}), call(s, "cycle_key")),
    "append": lambda call, s: call(s, "append", "a", of_size(988)),
    "update": lambda call, s: call(s, "update_entry", "a", lambda _: of_size(990)),
    "increment": lambda call, s: call(s, "increment", "n" * 990, 1),
}


@pytest.mark.parametrize("write", WRITES)
def test_a_session_that_would_be_too_large(live, call, contents, write):
    """The write raises, and nothing is written."""
    before = contents()
    with pytest.raises(SessionTooLarge) as caught:
        WRITES[write](call, live)
    assert contents() == before
    assert (caught.value.size, caught.value.limit) == (LIMIT + 1, LIMIT)
    assert isinstance(caught.value, SuspiciousOperation)


def test_a_session_at_the_limit(live, call):
    """It may be as large as the limit says."""
    live["a"] = of_size(989)
    call(live, "save")
    call(live, "cycle_key")
    assert len(reopened(live)["a"]) == 987


def test_what_the_error_says(live):
    """It names the largest entries and their sizes, in one line, and no values."""
    live.update({"cart\n": of_size(900), "@seen": ["secret"] * 50, "small": 1})
    with pytest.raises(SessionTooLarge) as caught:
        live.save()
    error = caught.value
    assert error.largest == (("cart\n", 905), ("@seen", 457), ("color", 10), ("small", 6))
    assert str(error) == (
        'The session would take 1,378 bytes, and SESSION_REDIS["MAX_SESSION_BYTES"] allows 1,000. '
        "Its largest entries are: cart\\n (905 bytes), @seen (457 bytes), color (10 bytes), "
        "small (6 bytes). Store less in them, or raise the limit."
    )
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)


def test_a_session_that_is_too_large_already(live, call, unlimited):
    """It can be used, shrink, and get a new key, but not grow."""
    unlimited()
    live.update({"a": of_size(2000), "_auth_user_id": "1"})
    live.save()
    unlimited(False)
    session = reopened(live)
    late = reopened(live)
    assert (len(session["a"]), late["color"]) == (1998, "red")
    session["color"] = "tan"
    call(session, "save")
    call(session, "cycle_key")
    call(late, "cycle_key")  # a second session, beside it, from what it had loaded
    session["a"] = of_size(1500)
    call(session, "save")
    session["b"] = 1
    with pytest.raises(SessionTooLarge):
        call(session, "save")
    del session["b"]
    del session["a"]
    session["c"] = of_size(900)
    call(session, "save")
    assert reopened(session).keys() == {"color", "_auth_user_id", "c"}


def test_an_anonymous_session_that_is_gone(live, call, unlimited):
    """What this request had loaded begins another session, however large it was."""
    unlimited()
    live["a"] = of_size(2000)
    live.save()
    unlimited(False)
    session = reopened(live)
    session.load()
    session.get("a")
    live.delete()
    call(session, "cycle_key")
    assert len(reopened(session)["a"]) == 1998


def test_halves_of_two_requests(live):
    """Only one of two that each add what is left gets in."""
    first, second = reopened(live), reopened(live)
    first.load()
    first["a"], second["b"] = of_size(600), of_size(600)
    first.save()
    with pytest.raises(SessionTooLarge) as caught:
        second.save()
    assert caught.value.largest[0][0] in {"a", "b"}
    assert reopened(live).keys() == {"color", "a"}


def test_processes_that_fill_a_session(limited, live):
    """The session never becomes too large, whoever writes at the same time."""
    arguments = {"session_key": live.session_key, "size": 90}
    workers = [Worker(limited, "fill", name=f"p{n}", **arguments) for n in range(2)]
    try:
        written = race(workers)
    finally:
        for worker in workers:
            worker.end()
    stored = reopened(live)
    assert len(stored.keys()) == 1 + sum(written) == 12
    sizes = [len(name) + len(value) for name, value in stored.inspect().fields.items()
             if name[0] != "@"]  # fmt: skip
    assert sum(sizes) == LIMIT


def test_what_is_not_checked(live):
    """A save that writes no entry has no rule, so it takes the server no longer than without."""
    assert rules_of_entries(live, Changes()) == {}
    assert rules_of_entries(live, Changes({b"@ip": b"::1"}, removed=(b"color",))) == {}
    assert rules_of_entries(live, Changes({b"color": b"1"})) == {"bytes": LIMIT}


def big(request):
    request.session["a"] = of_size(2000)
    return HttpResponse()


async def abig(request):
    await request.session.aset("a", of_size(2000))
    return HttpResponse()


urlpatterns = [path("big", big), path("abig", abig)]

MIDDLEWARES = [
    "sessions_redis.middleware.SessionMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
]


@pytest.mark.parametrize("middleware", MIDDLEWARES, ids=["ours", "Django's"])
@pytest.mark.parametrize("is_async", [False, True])
def test_the_answer(live, settings, caplog, middleware, is_async):
    """It is a 400, the cookie stays, and Django logs the entries' names and sizes."""
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = [middleware]
    client = AsyncClient() if is_async else Client()
    client.cookies[settings.SESSION_COOKIE_NAME] = live.session_key
    answer = asyncio.run(client.get("/abig")) if is_async else client.get("/big")
    assert (answer.status_code, answer.cookies) == (400, {})
    (record,) = [one for one in caplog.records if one.name == "django.security.SessionTooLarge"]
    assert "a (2.0 kB), color (10 bytes)" in record.getMessage()
    assert "xxx" not in record.getMessage()
    assert reopened(live).keys() == {"color"}
