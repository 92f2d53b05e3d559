"""``BIND_TO`` keeps a session from requests of other devices and networks; and `session_moved`."""

import asyncio
import copy
import logging
import pickle

import pytest
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.contrib.sessions.exceptions import SessionInterrupted
from django.http import HttpResponse
from django.test import AsyncRequestFactory, RequestFactory

from sessions_redis import binding, conf, registry
from sessions_redis.binding import device_of, network_of
from sessions_redis.clients import run
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionGone
from sessions_redis.middleware import SessionMiddleware
from sessions_redis.signals import session_ended, session_moved
from sessions_redis.storage import commands
from sessions_redis.storage.commands import session_id
from sessions_redis.web.visitors import Visitor
from tests.proxy import Proxy
from tests.site import FIREFOX

CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/131.0.0.0 Safari/537.36"
EDGE = f"{CHROME} Edg/131.0.0.0"
ANDROID = CHROME.replace("Windows NT 10.0; Win64; x64", "Linux; Android 14; Pixel 8")
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) Version/18.1 Mobile/1 Safari/604.1"

HERE = {"REMOTE_ADDR": "198.51.100.7", "HTTP_USER_AGENT": FIREFOX}
NEWER = FIREFOX.replace("132", "140")
SAME = {"REMOTE_ADDR": "::ffff:198.51.100.250", "HTTP_USER_AGENT": NEWER}

# Visits from elsewhere: what the request says, and what differs.
ELSEWHERE = {
    "another network": ({**HERE, "REMOTE_ADDR": "198.51.101.7"}, ["network"]),
    "IPv6": ({**HERE, "REMOTE_ADDR": "2001:db8::1"}, ["network"]),
    "no address": ({**HERE, "REMOTE_ADDR": ""}, ["network"]),
    "a phone": ({**HERE, "HTTP_USER_AGENT": IPHONE}, ["device"]),
    "another system": (
        {**HERE, "HTTP_USER_AGENT": FIREFOX.replace("Linux", "Mac OS X")},
        ["device"],
    ),
    "no user agent": ({"REMOTE_ADDR": "198.51.100.7"}, ["device"]),
    "both": ({"REMOTE_ADDR": "203.0.113.5", "HTTP_USER_AGENT": CHROME}, ["device", "network"]),
}
THERE = ELSEWHERE["both"][0]

BOTH = ("device", "network")


@pytest.fixture
def bind(settings, session_redis):
    """``bind(names, …)`` sets ``BIND_TO``."""

    def bind(*names, **more):
        settings.SESSION_REDIS = {**session_redis, "BIND_TO": names, **more}

    return bind


@pytest.fixture(params=["WSGI", "ASGI"])
def visit(request, settings):
    """``visit(session_key, do, meta, status)`` sends a request whose view calls ``do``."""

    def prepared(factory, session_key, meta):
        request = factory.get("/")
        request.META.pop("HTTP_USER_AGENT", None)
        request.META.update(meta)
        if session_key:
            request.COOKIES[settings.SESSION_COOKIE_NAME] = session_key
        return request

    def under_wsgi(session_key, do, meta=HERE, status=200):
        def view(request):
            response = HttpResponse(status=status)
            response.result = do(request.session)
            return response

        return SessionMiddleware(view)(prepared(RequestFactory(), session_key, meta))

    def under_asgi(session_key, do, meta=HERE, status=200):
        async def view(request):
            response = HttpResponse(status=status)
            twin = ASYNC.get(do)
            response.result = await twin(request.session) if twin else do(request.session)
            return response

        request = prepared(AsyncRequestFactory(), session_key, meta)
        return asyncio.run(SessionMiddleware(view)(request))

    return under_wsgi if request.param == "WSGI" else under_asgi


def read(session):
    return session.get("color")


def write(session):
    session["color"] = "blue"


def nothing(session):
    pass


def clear_and_write(session):
    session.clear()
    session["color"] = "red"


def flush(session):
    session.flush()


def cycle(session):
    session.cycle_key()


def cleared_and_cycled(session):
    session.clear()
    session.cycle_key()


def increment(session):
    return session.increment("visits")


def inspect(session):
    return session.inspect()


def sign_in(session):
    session["_auth_user_id"] = "7"
    session.cycle_key()


def append(session):
    return session.append("visits", 1)


def lock_and_write(session):
    with session.lock():
        session["visits"] = [1]
    return session["visits"]


def cleared_and_locked(session):
    session.clear()
    return lock_and_write(session)


async def aread(session):
    return await session.aget("color")


async def awrite(session):
    await session.aset("color", "blue")


async def aflush(session):
    await session.aflush()


async def acycle(session):
    await session.acycle_key()


async def acleared_and_cycled(session):
    session.clear()
    await session.acycle_key()


async def aincrement(session):
    return await session.aincrement("visits")


async def ainspect(session):
    return await session.ainspect()


async def asign_in(session):
    await session.aset("_auth_user_id", "7")
    await session.acycle_key()


async def aappend(session):
    return await session.aappend("visits", 1)


async def alock_and_write(session):
    async with session.alock():
        await session.aset("visits", [1])
    return await session.aget("visits")


async def acleared_and_locked(session):
    session.clear()
    return await alock_and_write(session)


ASYNC = {
    read: aread,
    write: awrite,
    flush: aflush,
    cycle: acycle,
    cleared_and_cycled: acleared_and_cycled,
    increment: aincrement,
    inspect: ainspect,
    sign_in: asign_in,
    append: aappend,
    lock_and_write: alock_and_write,
    cleared_and_locked: acleared_and_locked,
}


@pytest.fixture
def saved(visit):
    """The key of a session that began with a visit from HERE."""
    return visit(None, write).cookies["sessionid"].value


@pytest.fixture
def fields(raw, prefix):
    return lambda session_key: raw.hgetall(f"{prefix}:{session_id(session_key)}")


@pytest.fixture
def sent():
    """The arguments of the signals `session_ended` and `session_moved`, in turn."""
    sent = []

    def receive(*, signal, sender, **arguments):
        assert sender is registry.LiveSession
        sent.append(arguments)

    for signal in (session_ended, session_moved):
        signal.connect(receive)
    yield sent
    for signal in (session_ended, session_moved):
        signal.disconnect(receive)


# What counts


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("198.51.100.7", "198.51.100.255"),
        ("2001:db8:7::1", "2001:db8:7:ffff::2"),
        ("::ffff:10.0.0.1", "10.0.0.2"),
    ],
)
def test_one_network(one, other):
    """The first 24 bits of an IPv4 address and the first 48 of an IPv6 address are the network."""
    assert network_of(one.encode()) == network_of(other.encode()) is not None


@pytest.mark.parametrize(
    ("one", "other"),
    [("198.51.100.7", "198.51.101.7"), ("2001:db8:7::1", "2001:db8:8::1"), ("0.0.0.1", "::1")],
)
def test_two_networks(one, other):
    """Addresses of IPv4 and of IPv6 are in different networks."""
    assert network_of(one.encode()) != network_of(other.encode())


@pytest.mark.parametrize("text", [b"", b"junk", b"\xff", b"10.0.0.1/8"])
def test_no_network(text):
    """A damaged address is in no network."""
    assert network_of(text) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (FIREFOX, NEWER),
        (IPHONE, IPHONE.replace("18", "19")),
        ("Shop/1.2.3 build 7", "Shop/2.0"),
        ("Shop 1", "Shop 2"),
    ],
)
def test_one_device(one, other):
    """The versions of the browser and the system do not count."""
    assert device_of(one.encode()) == device_of(other.encode())


def test_several_devices():
    """Browsers differ, and so do systems, and programs that are not recognized."""
    agents = [FIREFOX, CHROME, EDGE, IPHONE, ANDROID, "Shop/1", "7", "8", "\N{SNOWMAN}"]
    assert len({device_of(agent.encode()) for agent in agents}) == len(agents)
    assert device_of(b"") is None
    assert device_of(b"\xff") is not None


# What a request from elsewhere gets


def test_off_by_default(visit, saved):
    """Without BIND_TO, a session can be used from everywhere."""
    assert visit(saved, read, THERE).result == "blue"


@pytest.mark.parametrize("name", ELSEWHERE)
def test_elsewhere(bind, visit, saved, fields, caplog, name):
    """
    A request from elsewhere gets no session. Its cookie and the session stay as they are, and the
    log has the session's ID, never its key.
    """
    meta, differs = ELSEWHERE[name]
    bind(*BOTH)
    before = fields(saved)
    with caplog.at_level(logging.WARNING, "django.security.SessionMoved"):
        response = visit(saved, read, meta)
    assert (response.result, response.status_code) == (None, 200)
    assert not response.cookies
    assert response["Vary"] == "Cookie"
    assert fields(saved) == before
    (record,) = caplog.records
    said = record.getMessage()
    assert said.startswith(
        f"Session {session_id(saved)} was refused, because it was used from another "
    )
    assert f"another {' and '.join(differs)}: " in said
    assert saved not in caplog.text
    assert visit(saved, read).result == "blue"


@pytest.mark.parametrize("name", BOTH)
def test_one_of_both(bind, visit, saved, name):
    """BIND_TO says what counts."""
    bind(name)
    for meta, differs in ELSEWHERE.values():
        assert (visit(saved, read, meta).result is None) == (name in differs)


def test_the_same_place(bind, visit, saved, fields):
    """Another version of the browser and another address of the network are the same place."""
    bind(*BOTH)
    assert visit(saved, read, SAME).result == "blue"
    visit(saved, write, SAME)
    assert fields(saved)[b"@ip"] == b"198.51.100.250"
    assert fields(saved)[b"@agent"] == NEWER.encode()


# What begins a session of its own for a visitor from elsewhere, and what it returns.
BEGINNING = {
    cycle: None,
    cleared_and_cycled: None,
    increment: 1,
    append: [1],
    lock_and_write: [1],
    cleared_and_locked: [1],
}


@pytest.mark.parametrize("do", [*BEGINNING, flush, inspect, nothing])
def test_every_way_to_the_session(bind, visit, saved, fields, do):
    """Whatever the view does first, it neither sees nor changes the session."""
    bind(*BOTH)
    before = fields(saved)
    response = visit(saved, do, THERE)
    assert fields(saved) == before
    assert response.result == BEGINNING.get(do)
    if do in BEGINNING:  # as with an unknown cookie
        (cookie,) = response.cookies.values()
        assert cookie.value not in {"", saved}
        assert SessionStore(cookie.value).get("color") is None
    else:
        assert not response.cookies


@pytest.mark.parametrize("do", [*BEGINNING, flush, inspect, clear_and_write])
def test_every_way_from_here(bind, visit, saved, fields, do):
    """In the same place, all of this works as without BIND_TO."""
    bind(*BOTH)
    response = visit(saved, do)
    if do is flush:
        assert response.cookies["sessionid"].value == ""
        assert fields(saved) == {}
    elif do in {cycle, cleared_and_cycled}:
        new = response.cookies["sessionid"].value
        assert SessionStore(new).get("color") == ("blue" if do is cycle else None)
        assert b"@created" not in fields(saved)
    elif do is increment:
        assert (response.result, fields(saved)[b"visits"]) == (1, b"1")
    elif do in {append, lock_and_write, cleared_and_locked}:
        assert (response.result, fields(saved)[b"visits"]) == ([1], b"[1]")
        assert (b"color" in fields(saved)) == (do is not cleared_and_locked)
    elif do is inspect:
        assert response.result.fields["color"] == '"blue"'
    else:
        assert fields(saved)[b"color"] == b'"red"'


def test_a_save_without_loading(bind, visit, saved, fields):
    """A view that replaces all entries, from elsewhere, is answered as if the session were gone."""
    bind(*BOTH)
    before = fields(saved)
    with pytest.raises(SessionInterrupted):
        visit(saved, clear_and_write, THERE)
    assert fields(saved) == before


def test_a_new_session_elsewhere(bind, visit, saved):
    """A request from elsewhere can begin a session of its own, and the first one goes on."""
    bind(*BOTH)
    new = visit(saved, write, THERE).cookies["sessionid"].value
    assert new != saved
    assert visit(new, read, THERE).result == visit(saved, read).result == "blue"
    assert registry.count() == 2


@pytest.mark.parametrize("do", [read, nothing])
def test_with_a_save_at_every_request(bind, visit, saved, settings, do):
    """The cookie stays as well, and no empty session is stored."""
    bind(*BOTH)
    settings.SESSION_SAVE_EVERY_REQUEST = True
    assert not visit(saved, do, THERE).cookies
    assert registry.count() == 1
    assert visit(saved, do).cookies["sessionid"].value == saved


def test_a_failed_request_keeps_the_cookie(bind, visit, saved):
    """Also one with the status 500."""
    bind(*BOTH)
    assert not visit(saved, read, THERE, status=500).cookies


def test_an_unknown_cookie_is_deleted(bind, visit):
    """As without BIND_TO."""
    bind(*BOTH)
    assert visit("unknown0" * 4, read, THERE).cookies["sessionid"].value == ""


# Ending


def test_ending(bind, visit, saved, sent, fields):
    """With BIND_TO_ENDS, the session is ended, and the cookie deleted."""
    bind(*BOTH, BIND_TO_ENDS=True)
    response = visit(saved, read, THERE)
    assert (response.result, response.cookies["sessionid"].value) == (None, "")
    assert fields(saved) == {}
    assert registry.count() == 0
    assert [(one["session_id"], one["reason"]) for one in sent] == [(session_id(saved), "moved")]
    assert sent[0]["user_pk"] is sent[0]["tenant"] is None
    visit(saved, read, THERE)
    assert len(sent) == 1


def test_the_user_of_an_ended_session(bind, visit, sent):
    """The signal says whose session was ended."""
    key = visit(None, lambda session: session.update({"_auth_user_id": "7"})).cookies["sessionid"]
    bind("network", BIND_TO_ENDS=True)
    visit(key.value, flush, THERE)
    assert [one["user_pk"] for one in sent] == ["7"]


def test_the_ending_is_published(bind, visit, saved, raw, prefix):
    """With EVENTS, other processes hear of it."""
    bind("network", BIND_TO_ENDS=True, EVENTS=True)
    with raw.pubsub(ignore_subscribe_messages=True) as subscription:
        subscription.subscribe(f"{prefix}:ended")
        assert subscription.get_message(timeout=20) is None  # the subscription was confirmed
        visit(saved, read, THERE)
        heard = subscription.get_message(timeout=20)
    assert heard["data"].startswith(f"{session_id(saved)} moved".encode())


def test_ended_once(bind, visit, saved, sent):
    """Of two requests from elsewhere at once, one ends the session and sends the signal."""
    bind("network", BIND_TO_ENDS=True)
    steps = []
    for _ in range(2):
        store = SessionStore(saved)
        store.metadata_source = {b"@ip": b"203.0.113.5"}.copy
        loading = store._loading()
        steps.append((loading, loading.send(run(next(loading)))))
    (first, ending), (second, again) = steps
    first.send(run(ending)).of(None)
    with pytest.raises(StopIteration):
        second.send(run(again))
    assert [one["reason"] for one in sent] == ["moved"]


@pytest.mark.django_db
def test_ending_a_session_that_moved_in(bind, visit):
    """It ends in the former engine, too."""
    former = DatabaseStore()
    former["color"] = "blue"
    former.save()
    key = former.session_key
    engine = "django.contrib.sessions.backends.db"
    bind("network", BIND_TO_ENDS=True, FORMER_ENGINE=engine)
    assert SessionStore(key)["color"] == "blue"
    store = SessionStore(key)
    store.metadata_source = Visitor(HERE)
    assert store["color"] == "blue"
    store = SessionStore(key)
    store.metadata_source = Visitor(THERE)
    assert store.get("color") is None
    assert not former.exists(key)
    assert not SessionStore().exists(key)


# What a session is bound to


def test_behind_a_proxy(bind, visit):
    """The address counts that the visitor has behind the trusted proxies."""
    bind("network", TRUSTED_PROXIES=["10.0.0.0/8"])
    behind = {**HERE, "REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": "198.51.100.7"}
    key = visit(None, write, behind).cookies["sessionid"].value
    other = {**behind, "REMOTE_ADDR": "10.1.2.3"}
    assert visit(key, read, other).result == "blue"
    forged = {**other, "HTTP_X_FORWARDED_FOR": "198.51.100.7, 203.0.113.5"}
    assert visit(key, read, forged).result is None


def test_the_first_request_binds(bind, visit, fields):
    """A session that was stored without a request is bound to the first one that reads it."""
    bind(*BOTH)
    session = SessionStore()
    session["color"] = "blue"
    session.save()
    key = session.session_key
    assert visit(key, read).result == "blue"
    assert fields(key)[b"@agent"] == FIREFOX.encode()
    assert visit(key, read, THERE).result is None
    assert SessionStore(key)["color"] == "blue"  # no request


def test_two_requests_at_once(bind, fields):
    """Of two that would bind a session at once, the first one does, and the other gets none."""
    bind(*BOTH)
    session = SessionStore()
    session.save()
    stores = [SessionStore(session.session_key) for _ in range(2)]
    places = [(b"198.51.100.7", FIREFOX.encode()), (b"203.0.113.5", CHROME.encode())]
    steps = []
    for store, (ip, agent) in zip(stores, places, strict=True):
        store.metadata_source = {b"@ip": ip, b"@agent": agent}.copy
        loading = store._loading()
        stored = run(next(loading))
        steps.append((loading, loading.send(stored)))  # both have read it, and none has bound it
    answers = [run(command) for _, command in steps]
    for (loading, _), answer in zip(steps, answers, strict=True):
        with pytest.raises(StopIteration):
            loading.send(answer)
    assert [store.is_elsewhere for store in stores] == [False, True]
    assert fields(session.session_key)[b"@ip"] == b"198.51.100.7"


def test_a_damaged_address(bind, visit, saved, raw, prefix):
    """It costs no visitor the session, and no round trips."""
    bind("network")
    raw.hset(f"{prefix}:{session_id(saved)}", "@ip", "junk")
    assert visit(saved, read).result == "blue"


def test_copies_of_a_session(bind, visit, saved):
    """A copy of a request's session, for a thread or a queue, is bound as the session is."""
    bind(*BOTH)
    kept = []
    visit(saved, lambda session: kept.append(copy.copy(session)), THERE)
    visit(saved, lambda session: kept.append(pickle.loads(pickle.dumps(session))), THERE)
    assert [session.get("color") for session in kept] == [None, None]


def test_the_command(raw, prefix):
    """It writes what is missing, once, and nothing into a session that is gone or being cycled."""
    keyspace, fields = conf.current().keyspace, {b"@ip": b"::1", b"@agent": b"a"}
    gone = session_id("gone")
    assert run(commands.bind(keyspace, gone, fields)) == {}
    assert not raw.exists(f"{prefix}:{gone}")
    session = SessionStore()
    session.metadata_source = {b"@ip": b"::2"}.copy
    session.save()
    id = session_id(session.session_key)
    raw.hset(f"{prefix}:{id}", "@frozen", "9" * 13)
    assert run(commands.bind(keyspace, id, fields)) == {b"@ip": b"::2"}
    raw.hset(f"{prefix}:{id}", "@frozen", "1000")
    expires = raw.pexpiretime(f"{prefix}:{id}")
    for _ in range(2):
        assert run(commands.bind(keyspace, id, fields)) == {b"@ip": b"::2", b"@agent": b"a"}
    assert raw.pexpiretime(f"{prefix}:{id}") == expires


def test_round_trips(bind, saved, server):
    """A bound session is loaded in one round trip, and increment() loads it first."""

    def store(meta):
        store = SessionStore(saved)
        store.metadata_source = Visitor(meta)
        return store

    with Proxy(server.port) as proxy:
        bind(*BOTH, LOCATION=proxy.url)
        store(HERE).increment("visits")
        assert proxy.counted(lambda: store(HERE).get("color")) == 1
        assert proxy.counted(lambda: store(THERE).get("color")) == 1
        assert proxy.counted(lambda: store(HERE).increment("visits")) == 2
        assert proxy.counted(store(THERE).flush) == 1


# The signal that a session has moved


def moved(**arguments):
    return {
        "user_pk": None,
        "old_ip": "198.51.100.7",
        "new_ip": "203.0.113.5",
        "old_user_agent": FIREFOX,
        "new_user_agent": CHROME,
        "tenant": None,
        **arguments,
    }


@pytest.mark.parametrize("do", [read, write, cycle])
def test_moved(visit, saved, sent, do):
    """A note or a save that stores another network or device sends the signal, once."""
    key = visit(saved, do, THERE).cookies.get("sessionid")
    key = key.value if key else saved
    assert sent == [moved(session_id=session_id(key))]
    visit(key, do, THERE)
    assert len(sent) == 1


def test_moved_while_signed_in(visit, sent):
    """The signal has the user, and what did not change."""
    key = visit(None, lambda session: session.update({"_auth_user_id": "7"})).cookies["sessionid"]
    visit(key.value, write, {"REMOTE_ADDR": "2001:db8::1"})
    id = session_id(key.value)
    expected = moved(session_id=id, user_pk="7", new_ip="2001:db8::1", new_user_agent=FIREFOX)
    assert sent == [expected]


def test_moved_by_signing_in(visit, saved, sent):
    """The signal has the user who is signed in since."""
    key = visit(saved, sign_in, THERE).cookies["sessionid"].value
    assert sent == [moved(session_id=session_id(key), user_pk="7")]


def test_not_moved(visit, saved, sent):
    """In the same place, and in the first place that is known, nothing is sent."""
    visit(saved, write, SAME)
    session = SessionStore()
    session.save()
    visit(session.session_key, write)
    assert sent == []


def test_not_moved_without_metadata(visit, saved, sent, settings, session_redis, fields):
    """With METADATA off, a save removes the place of the session, which is no move."""
    settings.SESSION_REDIS = {**session_redis, "METADATA": False}
    visit(saved, increment, THERE)
    assert not {b"@ip", b"@agent"} & fields(saved).keys()
    assert sent == []


def test_moved_at_once(saved, sent):
    """Of two requests from another place that are noted, one sends the signal."""
    stores = [SessionStore(saved) for _ in range(2)]
    for store in stores:
        store.metadata_source = {b"@ip": b"203.0.113.5"}.copy
        store.get("color")
    for store in stores:
        store.note_metadata()
    assert [one["new_ip"] for one in sent] == ["203.0.113.5"]


def test_nobody_listens(visit, saved, monkeypatch):
    """Without receivers, nothing is compared."""
    monkeypatch.setattr(binding, "differing", None)
    visit(saved, write, THERE)


def test_a_receiver_that_fails(visit, saved, caplog):
    """Its exception is logged, and the request goes on."""

    def fail(**arguments):
        raise RuntimeError("a receiver")

    session_moved.connect(fail)
    try:
        assert visit(saved, read, THERE).status_code == 200
    finally:
        session_moved.disconnect(fail)
    assert "a receiver" in caplog.text


def test_refused_and_not_moved(bind, visit, saved, sent):
    """A session that is kept from a request has not moved."""
    bind(*BOTH)
    visit(saved, read, THERE)
    assert sent == []


def test_an_unknown_save_after_the_end(bind, visit, saved):
    """A session that ended is gone in the same place, too."""
    bind(*BOTH)
    registry.end(session_id(saved))
    session = SessionStore(saved)
    session.metadata_source = {b"@ip": b"198.51.100.7"}.copy
    session.clear()
    with pytest.raises(SessionGone):
        session.save()
