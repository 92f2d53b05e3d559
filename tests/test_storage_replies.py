"""The shapes of replies: what each command takes for an answer, and that it takes nothing else."""

from contextlib import suppress

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import ResponseError

from sessions_redis.storage import commands, listings, replies, samples, servers
from sessions_redis.storage.changes import Changes
from sessions_redis.storage.commands import StoredSession
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.listings import LAST_CURSOR, Ended, Metadata, Page
from sessions_redis.storage.replies import LEAST, MOST, WrongShape
from sessions_redis.storage.samples import Owner
from sessions_redis.storage.servers import Identity, Memory, Persistence

KEYSPACE = Keyspace("p")
ID = b"0123456789abcdef0123456789abcdef"
HASH = [b"@created", b"1", b"color", b"\xff"]
FIELDS = {b"@created": b"1", b"color": b"\xff"}

# Each command, with replies of the right shape, as both protocols have them, and their answers.
ANSWERS = {
    "load": (
        commands.load(KEYSPACE, "a"),
        [(HASH, FIELDS), (FIELDS, FIELDS), ([], None), ({}, None), ([b"color", b"1"], None)],
    ),
    "exists": (commands.exists(KEYSPACE, "a"), [(1, True), (0, False)]),
    "create": (commands.create(KEYSPACE, "a", 9, Changes()), [(1, True), (0, False)]),
    "save": (commands.save(KEYSPACE, "a", 9, Changes()), [(1, True), (0, False)]),
    "cycle": (commands.cycle(KEYSPACE, "a", "b", 9, Changes()), [(1, True), (0, False)]),
    "create_beside": (
        commands.create_beside(KEYSPACE, "a", b"7", "b", 9, Changes()),
        [(1, True), (0, False)],
    ),
    "note": (
        commands.note(KEYSPACE, "a", {b"@ip": b"::1"}),
        [(now, now) for now in (1_764_000_000_123, -1_764_000_000_123, 0)],
    ),
    "bind": (
        commands.bind(KEYSPACE, "a", {b"@ip": b"::1", b"@agent": b"b"}),
        [
            ([], {}),
            ([None, None], {}),
            ([b"::2", None], {b"@ip": b"::2"}),
            ([b"::1", b"b"], {b"@ip": b"::1", b"@agent": b"b"}),
        ],
    ),
    "delete": (
        commands.delete(KEYSPACE, "a"),
        [
            (b"deleted:7", "7"),
            (b"deleted:", ""),
            (b"deleted:a:b", "a:b"),
            (b"deleted:\xff", "\\xff"),
            (b"nothing", None),
        ],
    ),
    "increment": (
        commands.increment(KEYSPACE, "a", b"n", 1),
        [(b"-12", -12), (b"0", 0), (b"%d" % MOST, MOST), (b"%d" % LEAST, LEAST), (b"", None)],
    ),
    "inspect": (
        commands.inspect(KEYSPACE, "a"),
        [
            ([1500, HASH], StoredSession("p:a", 1.5, {"@created": "1", "color": "\\xff"})),
            ([-1, FIELDS], StoredSession("p:a", -0.001, {"@created": "1", "color": "\\xff"})),
            ([-2, []], None),
        ],
    ),
    "page": (
        listings.page(KEYSPACE, "i", start=0, stop=9),
        [([0, []], Page(0, ())), ([7, [ID, b"\xff"]], Page(7, (ID.decode(),), (b"\xff",)))],
    ),
    "count": (
        listings.count(["i", "j"], (0, 1, 2)),
        [([[0, 1], [2, 3]], [[0, 1], [2, 3]])],
    ),
    "count nothing": (listings.count(["i"], ()), [([[]], [[]])]),
    "drop": (listings.drop(KEYSPACE, ["i"], ["a"]), [(0, 0), (7, 7)]),
    "sweep": (
        listings.sweep(KEYSPACE, "i", 60, ["j"], start=0, latest_first=True),
        [([0, 0], (0, 0)), ([996, 7], (996, 7)), ([7, 7], (7, 7))],
    ),
    "list_many": (listings.list_many(KEYSPACE, ["a"]), [([0, 0], (0, 0)), ([7, 1], (7, 1))]),
    "session_ids": (
        listings.session_ids(KEYSPACE, 0),
        [
            ([b"0", []], (0, [])),
            ([b"7", [b"p:" + ID, b"p:index", b"q", b"\xff"]], (7, [ID.decode()])),
        ],
    ),
    "keys": (listings.keys(), [(0, 0), (7, 7)]),
    "trim": (listings.trim("i"), [(0, 0), (7, 7)]),
    "end_all": (
        listings.end_all(KEYSPACE, "7"),
        [
            ([[], b"", 0], Ended(())),
            ([[b"a", b"b"], b"c", 1], Ended((("a", "7"), ("b", "7")), "c", more=True)),
        ],
    ),
    "end_many": (
        listings.end_many(KEYSPACE, ["a"]),
        [([], Ended(())), ([b"a", b"7", b"b", b""], Ended((("a", "7"), ("b", ""))))],
    ),
    "now": (listings.now(), [([b"17", b"500000"], 17.5), ([b"0", b"0"], 0)]),
    "metadata": (
        listings.metadata(KEYSPACE, "a"),
        [
            ([b"1", b"x", b"7", None, None, None, None], Metadata(1, 1, "7", None, None)),
            (
                [b"1", b"2", None, None, None, None, b"5999"],
                Metadata(1, 2, None, None, None, ends=5),
            ),
            ([b"1", b"2", None, None, None, None, b"never"], Metadata(1, 2, None, None, None)),
            ([b"1", b"2", b"", None, None, b"3", b"-1"], Metadata(1, 2, None, None, None, 3)),
            ([b"1", b"2", None, None, None, b"-3", None], Metadata(1, 2, None, None, None)),
            ([None] * 7, None),
            ([None, b"1", b"7", None, None, b"1", b"1"], None),
        ],
    ),
    "ttl": (listings.ttl(KEYSPACE, "a"), [(1500, 1.5), (-1, float("inf")), (-2, -0.002)]),
    "sample": (
        listings.sample("i", 5),
        [
            ([], []),
            ([b"a", b"1.5", b"b", b"inf"], [("a", 1.5), ("b", float("inf"))]),
            ([[b"a", 1.5], [b"b", float("inf")]], [("a", 1.5), ("b", float("inf"))]),
        ],
    ),
    "first": (
        listings.first("i", 0, 9, 5, latest_first=True),
        [([], []), ([b"a", b"1.5"], [(b"a", 1.5)]), ([[b"a", 1.5]], [(b"a", 1.5)])],
    ),
    "starting_with": (
        listings.starting_with("i", "0123ab", 0),
        [
            ([b"0", []], (0, [])),
            ([b"%d" % LAST_CURSOR, [ID, b"1.5", b"x", b"2"]], (LAST_CURSOR, [ID.decode()])),
            ([b"7", [[ID, 1.5], [b"\xff", 2.0]]], (7, [ID.decode()])),
        ],
    ),
    "memory": (listings.memory(KEYSPACE, "a"), [(144, 144), (None, None)]),
    "owner": (
        samples.owner(KEYSPACE, "a"),
        [
            ([b"1", b"7"], Owner("7")),
            ([b"1", None], Owner(None)),
            ([b"1", b""], Owner(None)),
            ([None, b"7"], None),
        ],
    ),
    "members": (samples.members("i"), [(0, 0), (7, 7)]),
    "encoding": (samples.encoding("a"), [(b"listpack", "listpack"), (None, None)]),
    "size": (samples.size("a"), [(144, 144), (None, None)]),
    "identity": (
        servers.identity(),
        [
            (b"# Server\r\nredis_version:7.0.15\r\n", Identity("Redis", "7.0.15")),
            (b"# Server\r\n", None),
        ],
    ),
    "memory of the server": (
        servers.memory(),
        [
            (
                b"used_memory:9\r\nmaxmemory:7\r\nmaxmemory_policy:noeviction\r\n",
                Memory(9, 7, "noeviction"),
            ),
            (b"# Memory\r\n", Memory(0, 0, None)),
        ],
    ),
    "persistence": (
        servers.persistence(),
        [
            (b"aof_enabled:1\r\n", Persistence(appends=True, took_snapshot=False, changes=0)),
            (b"# Persistence\r\n", None),
        ],
    ),
    "save_points": (
        servers.save_points(),
        [([b"save", b"3600 1"], "3600 1"), ({b"save": b""}, ""), ([], None), ({}, None)],
    ),
    "compact_limit": (
        servers.compact_limit(),
        [
            ([b"hash-max-listpack-value", b"64", b"hash-max-ziplist-value", b"64"], 64),
            ({b"hash-max-ziplist-value": b"256"}, 256),
            ([], None),
        ],
    ),
}

each_command = pytest.mark.parametrize("name", ANSWERS)


@each_command
def test_the_right_shape(name):
    """Each reply that Redis sends has its answer."""
    command, answers = ANSWERS[name]
    for reply, answer in answers:
        assert command.read(reply) == answer


MISFITS = [
    *(True, False, 1.0, float("nan"), "text", b"OK", b"1_0", b" 1", b"01", b"\xff", -3, MOST + 1),
    *(ResponseError("x"), (), object(), [True], [1], ["a"], [b"a", b"b", b"c"], [[1]], [[b"a"]]),
    *(
        [b"a", 1],
        [1, b"a", 2],
        [b"a", b"1", b"a", b"2"],
        [b"a", b"nan"],
        [b"a", b"x"],
        [[b"a", 1.5, 2]],
    ),
    *([1, [1]], [1, b"a", b"b"], [1, [b"a"], 3], [-1, [b"a"]], [-3, [b"a"]], [[0, 1]], [[1], [2]]),
    *([2, b"7"], [1, None], [1, 7], [None] * 4, [1] * 5, {b"a": 1}, {1: b"a"}, {"a": "b"}),
    *([b"1", b"2", b"3"], [b"x", b"1"], [b"999999999999", b"1"], [b"-1", b"1"], [[], [b"a"]]),
    [ResponseError("x"), b"1"],
]


SCORES = ([b"1"], [b"1", b"2"])


def fits(name, reply):
    """Whether ``reply`` may be the right one after all."""
    kinds = [type(one) for one in reply] if isinstance(reply, list) else None
    return {
        **dict.fromkeys(
            ("encoding", "identity", "memory of the server", "persistence"),
            isinstance(reply, bytes),
        ),
        "owner": kinds == [bytes, bytes],
        "end_many": kinds is not None and set(kinds) <= {bytes} and len(kinds) % 2 == 0,
        **dict.fromkeys(("load", "bind"), kinds == [bytes, bytes]),
        "page": kinds == [int, list] and reply[0] >= 0 and reply[1] == [b"a"],
        **dict.fromkeys(
            ("sample", "first"),
            kinds is not None and set(kinds) == {bytes} and reply[1::2] in SCORES,
        ),
    }.get(name, False)


@each_command
def test_no_other_shape(name):
    """Whatever else comes is none of Redis' replies to that command."""
    command, _ = ANSWERS[name]
    for reply in MISFITS:
        if not fits(name, reply):
            with pytest.raises(WrongShape):
                pytest.fail(f"{reply!r} was read as {command.read(reply)!r}")


# A busy machine is no failure.
unhurried = hypothesis.settings(deadline=None, max_examples=50)

values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.integers(-3, 3),
        st.floats(),
        st.binary(),
        st.text(max_size=3),
        st.sampled_from([b"@created", b"1", b"overflow", ResponseError("x")]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=6),
        st.dictionaries(st.one_of(st.binary(max_size=3), st.integers()), inner, max_size=3),
    ),
    max_leaves=12,
)


@each_command
@unhurried
@given(reply=values)
def test_anything_is_an_answer_or_of_the_wrong_shape(name, reply):
    """Reading fails in no other way."""
    with suppress(WrongShape):
        ANSWERS[name][0].read(reply)


@pytest.mark.parametrize("error", [b"ERR hash value is not an integer", b"ERR would overflow"])
def test_an_increment_that_is_refused(error):
    """The server's own words say why."""
    answer = commands.increment(KEYSPACE, "a", b"n", 1).read([error])
    wanted = commands.TooLarge if b"overflow" in error else commands.NotAnInteger
    assert isinstance(answer, wanted)


@pytest.mark.parametrize("reply", [[b"ERR something else"], [b"overflow", b""], [1], []])
def test_an_increment_that_is_refused_otherwise(reply):
    with pytest.raises(WrongShape):
        commands.increment(KEYSPACE, "a", b"n", 1).read(reply)


def test_the_kind_of_what_came_is_told_and_nothing_of_it():
    """Somebody's session may be in it."""
    for reply in (b"secret", [b"secret"], {b"secret": 1}):
        with pytest.raises(WrongShape) as caught:
            replies.flag(reply)
        assert "secret" not in str(caught.value)
    with pytest.raises(WrongShape, match=r"^expected a list of 2, got list of 1$"):
        replies.listing([1], 2)


def test_bound_fields_without_their_number():
    """There is a value for each field, or none."""
    with pytest.raises(WrongShape, match="a value for each field"):
        commands.bind(KEYSPACE, "a", {b"@ip": b"::1"}).read([b"::1", b"b"])


def test_a_note_without_the_time():
    """A small number is not a time, so it does not answer a note."""
    with pytest.raises(WrongShape, match="time"):
        commands.note(KEYSPACE, "a").read(-1)
    with pytest.raises(WrongShape, match="time"):
        commands.note(KEYSPACE, "a").read(1)
