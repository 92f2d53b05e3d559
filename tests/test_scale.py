"""The registry with 200,000 sessions: its cost does not grow with their number."""

import time

import pytest

from sessions_redis import registry
from sessions_redis.engine import SessionStore
from sessions_redis.registry import Selection
from sessions_redis.registry.statistics import measure
from tests.proxy import Proxy
from tests.servers import Server

SESSIONS = 200_000
BATCH_SIZE = 20_000

# Every second session has a user, each user has ten, and all sessions expire within a day.
USERS = SESSIONS // 20
PREFIX = "scale"
DAY = 86_400

# The server writes the keys itself, in the form in which the engine writes them.
LOAD = """
local prefix, first, last, users, now = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
for number = first, last do
  local id = string.sub(redis.sha1hex(number), 1, 32)
  local key = prefix .. ':' .. id
  local expires = now + 3600 + number % 82800
  local half = ':index:anonymous'
  redis.call('HSET', key, '@created', now, '@updated', now, '@ip', '198.51.100.7',
    '@agent', 'Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0')
  if number % 2 == 0 then
    local user = tostring(math.floor(number / 2) % users)
    redis.call('HSET', key, '@user', user, '_auth_user_id', '"' .. user .. '"')
    redis.call('ZADD', prefix .. ':user:' .. user, expires, id)
    redis.call('EXPIREAT', prefix .. ':user:' .. user, now + 86400)
    half = ':index:signed-in'
  end
  redis.call('EXPIREAT', key, expires)
  redis.call('ZADD', prefix .. ':index', expires, id)
  redis.call('ZADD', prefix .. half, expires, id)
end
for _, index in ipairs({':index', ':index:signed-in', ':index:anonymous'}) do
  redis.call('EXPIREAT', prefix .. index, now + 86400)
end
"""


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A server with all these sessions."""
    server = Server(tmp_path_factory.mktemp("full"))
    with server.client(socket_timeout=60) as client:
        load = client.register_script(LOAD)
        for first in range(0, SESSIONS, BATCH_SIZE):
            load(args=[PREFIX, first, first + BATCH_SIZE - 1, USERS, int(time.time())])
    yield server
    server.stop()


@pytest.fixture
def cost(settings, full):
    """``cost(function)`` returns the result and the number of round trips, and prints the time."""
    settings.SESSION_REDIS = {"LOCATION": full.url, "KEY_PREFIX": PREFIX}
    with Proxy(full.port) as proxy:

        def cost(function):
            function()
            began = time.perf_counter()
            result = function()
            print(f"{(time.perf_counter() - began) * 1000:.1f} ms", end=" ")
            settings.SESSION_REDIS = {"LOCATION": proxy.url, "KEY_PREFIX": PREFIX}
            SessionStore().exists("connects")
            registry.end("0" * 32)  # commands that are sent once have connections of their own
            before = proxy.round_trips
            function()
            return result, proxy.round_trips - before

        yield cost


@pytest.mark.parametrize("page", [0, 1, 999, 1999])
@pytest.mark.parametrize("latest_first", [True, False])
def test_a_page(cost, page, latest_first):
    """Any page of 100 sessions takes two round trips, and is in the order of expiry."""
    selection = Selection(latest_first=latest_first)
    found, trips = cost(lambda: registry.latest(page * 100, page * 100 + 100, selection))
    expiries = [session.expires.timestamp() for session in found]
    assert len({session.id for session in found}) == 100
    assert expiries == pytest.approx(sorted(expiries, reverse=latest_first), abs=0.1)
    assert trips == 2


@pytest.mark.parametrize("signed_in", [True, False])
def test_a_page_of_half(cost, signed_in):
    """The same holds for a page of signed-in or of anonymous sessions."""
    selection = Selection(signed_in=signed_in)
    found, trips = cost(lambda: registry.latest(50_000, 50_100, selection))
    assert len(found) == 100
    assert all((session.user_pk is not None) == signed_in for session in found)
    assert trips == 2


def test_the_end_of_the_list(cost):
    """A page behind the last one is empty, and reads no session."""
    found, trips = cost(lambda: registry.latest(SESSIONS, SESSIONS + 100))
    assert (found, trips) == ([], 1)


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(), SESSIONS),
        (Selection(signed_in=True), SESSIONS // 2),
        (Selection(within=DAY), SESSIONS),
    ],
)
def test_counting(cost, selection, expected):
    """The exact number takes one round trip."""
    assert cost(lambda: registry.count(selection)) == (expected, 1)


def test_counting_by_time_left(cost):
    """All 24 bars of a histogram take one round trip together, and count every session."""
    bounds = [DAY / 24 * number for number in range(25)]
    (signed_in, anonymous), trips = cost(lambda: registry.by_time_left(bounds))
    assert len(signed_in) == len(anonymous) == 24
    assert (sum(signed_in), sum(anonymous), trips) == (SESSIONS // 2, SESSIONS // 2, 1)


def test_one_user(cost):
    """A user's sessions are found among all in two round trips."""
    found, trips = cost(lambda: registry.of_user(USERS - 1))
    assert (len(found), trips) == (10, 2)


def test_one_session(cost):
    """Finding a session, also one that does not exist, takes one round trip."""
    ((live,), _) = cost(lambda: registry.latest(123_456, 123_457))
    assert cost(lambda: registry.find(live.id).id) == (live.id, 1)
    assert cost(lambda: registry.find("0" * 32)) == (None, 1)


def test_statistics(cost):
    """A sample of a thousand sessions takes three round trips."""
    statistics, trips = cost(lambda: measure(1000))
    assert (statistics.live, statistics.sampled, statistics.drift) == (SESSIONS, 1000, 0)
    assert statistics.bytes_per_session > 0
    assert trips == 3


def test_trimming(cost):
    """If there is nothing to trim, that takes one round trip for each index."""
    assert cost(registry.trim) == (0, 3)


def test_ending_a_users_sessions(cost):
    """All sessions of a user end in one round trip, wherever they are among the others."""
    for _ in range(10):
        session = SessionStore()
        session["_auth_user_id"] = "somebody new"
        session.create()
    assert registry.count() == SESSIONS + 10
    assert registry.end_all_of("somebody new") == 10
    assert registry.count() == SESSIONS
    assert cost(lambda: registry.end_all_of("somebody new")) == (0, 1)
