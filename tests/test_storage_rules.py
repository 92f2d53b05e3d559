"""Rules are checked in the same step as the write, in one slot and across slots."""

import pytest

from sessions_redis.clients import perform, run
from sessions_redis.storage import adoption, layouts, listings
from sessions_redis.storage.changes import Changes
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.replies import WrongShape
from sessions_redis.storage.rules import (
    Refused,
    Written,
    arguments,
    condition,
    outcome,
    refusal,
)
from tests.cluster_model import new_id

LOGIN = Changes({b"_auth_user_id": b'"1"', b"color": b'"red"'}, user="1")

HELD = [
    {},
    {"expects:color": b'"red"'},
    {"lacks:size": ""},
    {"lacks:size": "", "expects:color": '"red"'},
    {"expects:@user": "1"},
    {"bytes": 36},
    {"expects:color": b'"red"', "bytes": 36},
]
BROKEN = [
    ({"expects:color": b'"blue"'}, ('"red"',)),
    ({"expects:size": b"1"}, ()),
    ({"lacks:color": ""}, ('"red"',)),
    ({"lacks:size": "", "expects:@user": "2"}, ("1",)),
    ({"lock": "token"}, ()),
]


@pytest.fixture(params=["one slot", "across slots"])
def keyspace(request, prefix):
    return Keyspace(prefix, is_spread=request.param == "across slots")


@pytest.fixture
def session(keyspace):
    id = new_id()
    assert perform(layouts.create(keyspace, id, 600, LOGIN)) is True
    return id


@pytest.fixture
def contents(raw, keyspace):
    def hashes():
        keys = [key for key in raw.keys(f"{keyspace.prefix}:*") if raw.type(key) == b"hash"]
        return {key: raw.hgetall(key) for key in keys}

    return hashes


@pytest.mark.parametrize("rules", HELD, ids=str)
def test_a_rule_that_holds(keyspace, session, raw, rules):
    """A save whose rules hold is done."""
    changes = Changes({b"size": b"7"}, rules=rules)
    assert perform(layouts.save(keyspace, session, 600, changes)) is True
    assert raw.hget(keyspace.session(session), "size") == b"7"


@pytest.mark.parametrize(("rules", "details"), BROKEN, ids=str)
def test_a_rule_that_does_not_hold(keyspace, session, contents, rules, details):
    """A save that a rule refuses writes nothing, and says what the field holds."""
    before = contents()
    changes = Changes({b"size": b"7"}, (b"color",), replaces=True, rules=rules)
    refused = perform(layouts.save(keyspace, session, 600, changes))
    assert isinstance(refused, Refused)
    assert not refused
    assert (refused.rule in rules, refused.details) == (True, details)
    assert contents() == before


@pytest.mark.parametrize(("rules", "details"), BROKEN, ids=str)
def test_a_rule_that_refuses_a_new_key(keyspace, session, contents, rules, details):
    """Cycling that a rule refuses leaves the session under its key, and can be tried again."""
    before, copy = contents(), new_id()
    changes = Changes({b"size": b"7"}, rules=rules)
    refused = perform(layouts.cycle(keyspace, session, copy, 600, changes, "1"))
    assert (isinstance(refused, Refused), refused.details) == (True, details)
    after = contents()
    assert after.keys() == before.keys()
    assert run(listings.ttl(keyspace, copy)) <= 0
    assert perform(layouts.save(keyspace, session, 600, Changes({b"size": b"8"}))) is True
    assert (
        perform(layouts.cycle(keyspace, session, copy, 600, Changes({b"size": b"9"}), "1")) is True
    )


def test_a_rule_that_refuses_a_sign_in(keyspace, raw):
    """A session that did not get its user stays in the index of anonymous sessions."""
    id = new_id()
    assert perform(layouts.create(keyspace, id, 600, Changes({b"color": b'"red"'}))) is True
    login = LOGIN._replace(rules={"lacks:color": ""})
    assert isinstance(perform(layouts.save(keyspace, id, 600, login)), Refused)
    lists = [keyspace.index, keyspace.anonymous, keyspace.signed_in, keyspace.user("1")]
    assert [raw.zscore(name, id) is not None for name in lists] == [True, True, False, False]


def test_a_rule_that_refuses_a_creation(keyspace, contents, raw):
    """A session that a rule refuses is not created, and no index lists it."""
    before, id = contents(), new_id()
    changes = LOGIN._replace(rules={"expects:color": b'"red"'})
    assert isinstance(perform(layouts.create(keyspace, id, 600, changes)), Refused)
    assert contents() == before
    assert raw.zscore(keyspace.user("1"), id) is None


def test_arguments():
    """Rules are sent as a number, then names and values in turn."""
    assert arguments({}) == (0,)
    assert arguments({"lacks:a": "", "ends": 5}) == (4, "lacks:a", "", "ends", 5)
    assert arguments({"lacks:\ud800": ""}) == (2, b"lacks:\xed\xa0\x80", "")


def test_outcomes():
    """A write answers whether it was done, or which rule refused it."""
    assert outcome(1) is True
    assert outcome(0) is False
    assert outcome([b"refused", b"lacks:a", b"x"]) == Refused("lacks:a", ("x",))
    assert outcome(10**12) == Written(at=10**12)
    assert outcome([b"written", b"ended", b"", b"id", b"7"]) == Written((("id", "7"),))
    assert outcome([b"written", b"ended", b"5", b"id", b"7"]) == Written((("id", "7"),), at=5)
    assert bool(Written()) is True


@pytest.mark.parametrize("said", ["written", "adopted"])
@pytest.mark.parametrize(
    "rest", [[], [b"a"], [b"ended"], [b"ended", b"id", b"7"], [b"ended", b"5", b"id"]]
)
def test_other_replies(said, rest):
    """A reply of another shape is not taken for an answer."""
    for reply in ([], [b"refused"], [b"ended"], [said.encode(), *rest]):
        for read in (outcome, adoption._adopted):
            with pytest.raises(WrongShape):
                read(reply)


def test_the_same_check_in_python():
    """The check of fields that nobody else can change is that of rules.lua."""
    fields = {b"_auth_user_id": b'"1"', b"color": b'"red"', b"@user": b"1"}
    for rules in HELD:
        assert refusal(Changes(rules=rules), fields) is None
    for rules, details in BROKEN:
        found = refusal(Changes(rules=rules), fields)
        assert found is not None
        assert found.details == details


# The session of these tests has 26 bytes in its entries.

TOO_LARGE = [
    (Changes({b"size": b"7777"}), 33, ("34", "_auth_user_id", "16", "color", "10", "size", "8")),
    (Changes({b"size": b"7777777"}, (b"color",)), 26, ("27", "_auth_user_id", "16", "size", "11")),
    (Changes({b"size": b"7" * 40}, replaces=True, user=""), 26, ("44", "size", "44")),
    (Changes({b"@@a": b"7777"}), 32, ("33", "_auth_user_id", "16", "color", "10", "@@a", "7")),
]
ALLOWED = [
    (Changes({b"size": b"7777"}), 34),
    (Changes({b"size": b"7777"}, (b"color",)), 24),
    (Changes({b"@ip": b"7" * 80}), 10),
    (Changes({b"color": b'"tan"'}), 10),  # it was too large before, and does not grow
    (Changes({b"size": b"7"}, replaces=True, user=""), 1),
    (Changes(removed=(b"color",)), 1),
]


@pytest.mark.parametrize(("changes", "limit", "details"), TOO_LARGE, ids=str)
def test_a_session_that_would_be_too_large(keyspace, session, contents, changes, limit, details):
    """The server counts names and values, writes nothing, and names the largest entries."""
    before = contents()
    changes = changes._replace(rules={"bytes": limit})
    refused = perform(layouts.save(keyspace, session, 600, changes))
    assert refused == Refused("bytes", details)
    assert contents() == before
    assert perform(layouts.cycle(keyspace, session, new_id(), 600, changes, "1")) == refused
    assert perform(layouts.save(keyspace, session, 600, Changes())) is True


@pytest.mark.parametrize(("changes", "limit"), ALLOWED, ids=str)
def test_a_session_that_is_not_too_large(keyspace, session, changes, limit):
    """At the limit it is saved; and beyond it, if it was no smaller before."""
    changes = changes._replace(rules={"bytes": limit})
    assert perform(layouts.save(keyspace, session, 600, changes)) is True
    assert perform(layouts.cycle(keyspace, session, new_id(), 600, changes, "1")) is True


def test_a_creation_that_would_be_too_large(keyspace, contents):
    """The five largest entries are named, each with up to 100 bytes of its name."""
    sizes = {b"%d" % number * 60: b"7" * number for number in range(9)}
    changes = Changes({**sizes, b"x" * 300: b"1"}, rules={"bytes": 500})
    refused = perform(layouts.create(keyspace, new_id(), 600, changes))
    assert isinstance(refused, Refused)
    names = ["x" * 100, "8" * 60, "7" * 60, "6" * 60, "5" * 60]
    assert refused.details == (
        "877",
        names[0],
        "301",
        names[1],
        "68",
        names[2],
        "67",
        names[3],
        "66",
        names[4],
        "65",
    )
    assert contents() == {}


def test_the_value_that_a_field_holds(keyspace, raw):
    """The refusal of a condition has the bytes as they are. The names of fields can be any."""
    id, name = new_id(), "\ud800é".encode("utf-8", "surrogatepass")
    assert perform(layouts.create(keyspace, id, 600, Changes({name: b"\xff\n"}))) is True
    for held in (None, b"other"):
        changes = Changes({name: b"1"}, rules=condition(name, held))
        refused = perform(layouts.save(keyspace, id, 600, changes))
        assert (refused.is_of_a_condition, refused.value) == (True, b"\xff\n")
    changes = Changes({name: b"1"}, rules=condition(name, b"\xff\n"))
    assert perform(layouts.save(keyspace, id, 600, changes)) is True
    missing = Changes({name: b"1"}, rules=condition(b"none", b"1"))
    assert perform(layouts.save(keyspace, id, 600, missing)).value is None


@pytest.mark.parametrize("number", range(8))
def test_the_first_of_several_broken_rules(keyspace, session, number):
    """Rules are checked in the order in which they are sent."""
    names = [f"expects:{n * 7919 % 8}" for n in range(number, number + 5)]
    rules = dict.fromkeys(names, b"1")
    changes = Changes({b"size": b"7"}, rules=rules)
    assert perform(layouts.save(keyspace, session, 600, changes)).rule == names[0]
