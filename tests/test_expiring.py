"""Entries with a lifetime of their own."""

import asyncio
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import RequestFactory

from sessions_redis import registry
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionGone
from tests.documents import blocks, section, text_of
from tests.expiring import Hash, again, begun, capable
from tests.servers import wait_until
from tests.topologies import delete_all, prefix, session_redis, topologies  # noqa: F401 - fixtures

server = capable("one")

# More than any test takes. Its entry expires if the test lets it.
LONG = 3600
MILLISECONDS = range(1, LONG * 1000 + 1)


@pytest.fixture
def session():
    """A session with an ordinary entry and one that expires."""
    session = begun(color="red")
    session.set("code", "1234", expires_in=LONG)
    session.save()
    return session


@pytest.fixture
def stored(raw, session):
    return Hash(raw, session)


def as_coded(session):
    return session.get("color"), session.get("code")


# Setting


def test_an_entry_disappears(raw):
    """An entry disappears by itself; the others, and the session, stay."""
    session = begun(color="red")
    session.set("code", "1234", expires_in=0.05)
    session.save()
    stored = Hash(raw, session)
    wait_until(lambda: b"code" not in stored.fields, "the entry expires")
    assert as_coded(again(session)) == ("red", None)
    assert raw.pttl(stored.name) > 0


def test_nothing_is_written_before_the_save(raw):
    """The entry and its lifetime are written by the save, and not before."""
    session = begun(color="red")
    session.set("code", "1234", expires_in=LONG)
    stored = Hash(raw, session)
    assert session["code"] == "1234"
    assert stored.fields.keys() & {b"code", b"@expiring"} == set()
    session.save()
    assert stored.left("code") in MILLISECONDS
    assert (stored.fields[b"code"], stored.fields[b"@expiring"]) == (b'"1234"', b"4:code")


def test_a_new_session(raw):
    """An entry of a session that is not stored yet can expire, too."""
    session = SessionStore()
    session.set("code", "1234", expires_in=timedelta(hours=1))
    session.save()
    assert Hash(raw, session).left("code") in MILLISECONDS
    assert session.get("code") == again(session)["code"] == "1234"


def test_async(raw):
    """Asynchronous code does the same."""

    async def use():
        session = SessionStore()
        await session.aset("color", "red")
        await session.aset("code", "1234", expires_in=LONG)
        await session.aset("hint", "no", expires_in=LONG)
        await session.asave()
        await session.aset("hint", "yes")
        await session.aupdate({"note": "hello"})
        await session.aexpire_entry("note", LONG)
        await session.asave()
        return session

    stored = Hash(raw, asyncio.run(use()))
    lefts = {name: stored.left(name) > 0 for name in ("color", "code", "hint", "note")}
    assert lefts == {"color": False, "code": True, "hint": False, "note": True}
    assert stored.names == {"code", "note"}


def test_an_existing_entry(session, stored):
    """An entry that is there can get a lifetime, or another one."""
    session.expire_entry("color", LONG)
    session.expire_entry("code", LONG * 1000)
    session.save()
    assert stored.left("color") in MILLISECONDS
    assert stored.left("code") > LONG * 1000
    assert stored.fields[b"color"] == b'"red"'


def test_an_entry_that_is_missing(session):
    """Only an entry that is there can get a lifetime."""
    with pytest.raises(KeyError, match="size"):
        session.expire_entry("size", LONG)


def test_an_entry_that_another_request_removed(session, stored):
    """A lifetime alone does not bring back an entry."""
    other = again(session)
    del other["color"]
    session.expire_entry("color", LONG)
    other.save()
    session.save()
    assert stored.fields.keys() & {b"color", b"code"} == {b"code"}
    assert stored.names == {"code"}


def test_setting_it_again(session, stored):
    """An entry that is set again, even to the same value, gets its new lifetime in any case."""
    session.set("code", "1234", expires_in=LONG * 1000)
    stored.let_expire("code")
    session.save()
    assert (stored.fields[b"code"], stored.names) == (b'"1234"', {"code"})
    assert stored.left("code") > LONG * 1000


def test_setting_and_expiring(session, stored):
    """The later of two lifetimes counts."""
    session.set("hint", "no", expires_in=1)
    session.expire_entry("hint", LONG * 1000)
    session.save()
    assert stored.left("hint") > LONG * 1000
    session.save()
    assert stored.left("hint") > LONG * 1000


def test_removing_it_before_it_is_saved(session, stored):
    """An entry that was removed again is not written."""
    session.set("hint", "no", expires_in=LONG)
    del session["hint"]
    session.pop("code")
    session.save()
    assert stored.fields.keys() & {b"hint", b"code", b"@expiring"} == set()


def test_clearing(session, stored):
    """``clear()`` forgets the lifetimes as well."""
    session.set("hint", "no", expires_in=LONG)
    session.clear()
    session["hint"] = session["code"] = "new"
    session.save()
    assert (stored.left("hint"), stored.left("code"), stored.names) == (-1, -1, set())
    assert b"color" not in stored.fields


def test_replacing_all_with_an_expiring_entry(session, stored):
    """After ``clear()``, entries can expire as well."""
    session.clear()
    session.set("hint", "yes", expires_in=LONG)
    session.save()
    assert stored.left("hint") in MILLISECONDS
    assert stored.names == {"hint"}
    assert b"code" not in stored.fields


def test_replacing_all_under_a_new_key(session, raw):
    """After ``clear()``, nothing of what expired before moves to the new key."""
    session.clear()
    session.set("hint", "yes", expires_in=LONG)
    session.cycle_key()
    stored = Hash(raw, session)
    assert stored.left("hint") in MILLISECONDS
    assert (stored.names, b"code" in stored.fields) == ({"hint"}, False)


def test_updating_others(session, stored):
    """``update()`` of other entries leaves the lifetime as it is."""
    session.update({"color": "blue", 5: "five"})
    session.save()
    assert stored.fields[b"5"] == b'"five"'
    assert stored.left("code") in MILLISECONDS


@pytest.mark.parametrize("name", ["", "@code", "4:code", "a\nb\0c", "é", "\ud800"])
def test_any_name(raw, name):
    """The key of such an entry can be any text."""
    session = begun()
    session.set(name, 1, expires_in=LONG)
    session.save()
    found = again(session)
    found[name] += 1  # an ordinary assignment
    found.set("other", 1, expires_in=LONG)
    found.save()
    stored = Hash(raw, session)
    assert (again(session)[name], stored.names) == (2, {"other"})


# Keeping the lifetime


def test_saves_of_other_entries(session, stored):
    """Saves of other entries, and a login, leave the lifetime as it is."""
    other = again(session)
    other["size"] = 1
    other.save()
    other["_auth_user_id"] = "1"
    other.cycle_key()
    other.save()
    moved = Hash(stored.raw, other)
    assert moved.left("code") in MILLISECONDS
    assert moved.names == {"code"}
    assert as_coded(again(other)) == ("red", "1234")


def test_cycling_with_changes(session, stored):
    """While it cycles, a session can give and take lifetimes."""
    session.set("hint", "no", expires_in=LONG)
    session.save()
    session.set("new", 1, expires_in=LONG)
    session["code"] = "5678"
    session["list"] = []
    session.expire_entry("color", LONG)
    del session["hint"]
    session.cycle_key()
    moved = Hash(stored.raw, session)
    lefts = {name: moved.left(name) for name in ("new", "code", "list", "color", "hint")}
    expire = {name for name, left in lefts.items() if left > 0}
    assert (expire, lefts["code"], lefts["hint"]) == ({"new", "color"}, -1, -2)
    assert moved.names == {"color", "new"}


def test_a_value_that_changes_in_place(session, stored):
    """A value that is changed, not assigned, keeps the lifetime of its entry."""
    session.set("tries", [1], expires_in=LONG)
    session.save()
    session["tries"].append(2)
    session.modified = True
    session.save()
    assert stored.fields[b"tries"] == b"[1,2]"
    assert stored.left("tries") in MILLISECONDS
    session["tries"].append(3)
    session.cycle_key()
    moved = Hash(stored.raw, session)
    assert moved.fields[b"tries"] == b"[1,2,3]"
    assert moved.left("tries") in MILLISECONDS
    assert moved.names == {"code", "tries"}


@pytest.mark.parametrize("cycles", [False, True])
def test_a_value_that_changes_in_place_and_expires(session, stored, cycles):
    """A change in place does not bring back an entry that has expired meanwhile."""
    session.set("tries", [1], expires_in=LONG)
    session.save()
    other = again(session)
    other["tries"].append(2)
    other["size"] = 1
    stored.let_expire("tries")
    if cycles:
        other.cycle_key()
    other.save()
    moved = Hash(stored.raw, other)
    assert (moved.fields.get(b"tries"), moved.fields[b"size"]) == (None, b"1")
    assert moved.names == {"code"}


@pytest.mark.parametrize("cycles", [False, True])
def test_a_change_in_place_of_an_entry_that_became_permanent(session, stored, cycles):
    """An entry that another request has made permanent is written as an ordinary one."""
    session.set("tries", [1], expires_in=LONG)
    session.save()
    other = again(session)
    other["tries"].append(2)
    session["tries"] = [1]
    session.save()
    if cycles:
        other.cycle_key()
    other.save()
    moved = Hash(stored.raw, other)
    assert (moved.fields[b"tries"], moved.left("tries")) == (b"[1,2]", -1)
    assert moved.names == {"code"}


def test_an_entry_that_was_only_read(session, stored):
    """An entry that expires after it was read is not written again."""
    other = again(session)
    assert other["code"] == "1234"
    stored.let_expire("code")
    other["size"] = 1
    other.save()
    other.cycle_key()
    other.save()
    assert as_coded(again(other)) == ("red", None)


def test_counting(session, stored):
    """``increment()`` keeps the lifetime. After it, counting begins anew, without a lifetime."""
    session.set("tries", 1, expires_in=LONG)
    assert session.increment("tries") == 2  # here: the next save writes it
    session.save()
    assert session.increment("tries") == 3
    assert stored.fields[b"tries"] == b"3"
    assert stored.left("tries") in MILLISECONDS
    assert stored.names == {"code", "tries"}
    stored.let_expire("tries")
    assert SessionStore(session.session_key).increment("tries") == 1
    assert (stored.left("tries"), stored.names) == (-1, {"code"})


def test_updating(session, stored):
    """``append()`` and ``update_entry()`` keep the lifetime. After it, they begin anew, without."""
    session.set("tries", [1], expires_in=LONG)
    session.save()
    other = again(session)
    assert session.append("tries", 2) == [1, 2]
    assert other.update_entry("tries", lambda tries: [*tries, 3]) == [1, 2, 3]
    assert stored.left("tries") in MILLISECONDS
    assert stored.names == {"code", "tries"}
    stored.let_expire("tries")
    assert other.append("tries", 4) == [4]
    assert (stored.fields[b"tries"], stored.left("tries")) == (b"[4]", -1)
    assert stored.names == {"code"}
    stored.let_expire("code")
    assert again(session).update_entry("code", str, default="new") == "new"
    assert stored.fields[b"code"] == b'"new"'


def test_two_requests_at_once(session, stored):
    """Requests that set different entries at the same time do not forget each other's."""
    first, second = again(session), again(session)
    first.set("a", 1, expires_in=LONG)
    second.set("b", 1, expires_in=LONG)
    first.save()
    second.save()
    assert stored.names == {"code", "a", "b"}
    assert stored.left("a") in MILLISECONDS


# Becoming permanent


def assign(session):
    session["code"] = "1234"


def update(session):
    session.update([("code", "1234")])


def put(session):
    session.set("code", "1234")


def aset(session):
    asyncio.run(session.aset("code", "1234"))


def aupdate(session):
    asyncio.run(session.aupdate({"code": "1234"}))


@pytest.mark.parametrize("write", [assign, update, put, aset, aupdate])
@pytest.mark.parametrize("is_read", [False, True])
def test_assigning(session, stored, write, is_read):
    """An ordinary assignment, even of the same value, makes the entry permanent."""
    other = again(session)
    if is_read:
        assert other["code"] == "1234"
    write(other)
    other.save()
    assert (stored.left("code"), stored.fields[b"code"]) == (-1, b'"1234"')
    assert stored.names == set()


def test_assigning_before_the_save(raw):
    """An assignment also undoes a lifetime that is not saved yet."""
    session = begun()
    session.set("code", "1234", expires_in=LONG)
    session["code"] = "5678"
    session.save()
    stored = Hash(raw, session)
    assert (stored.left("code"), stored.fields[b"code"], stored.names) == (-1, b'"5678"', set())


def test_a_default(session, stored):
    """A default for an entry that has expired is permanent."""
    stored.let_expire("code")
    other = again(session)
    assert other.setdefault("code", "new") == "new"
    other.save()
    assert (stored.left("code"), stored.names) == (-1, set())


def test_the_list_of_names_stays_short(session, stored):
    """Names of entries that have expired are removed when the next entry gets a lifetime."""
    for number in range(20):
        session.set(f"code-{number}", 1, expires_in=LONG)
    session.save()
    for number in range(20):
        stored.let_expire(f"code-{number}")
    session.set("last", 1, expires_in=LONG)
    session.save()
    assert stored.names == {"code", "last"}


def test_many_names(raw):
    """A session can have thousands of such entries."""
    session = begun()
    for number in range(2500):
        session.set(f"code-{number}", 1, expires_in=LONG)
    session.save()
    session.cycle_key()
    stored = Hash(raw, session)
    assert stored.left("code-2499") in MILLISECONDS
    assert len(stored.names) == 2500


@pytest.mark.parametrize("text", [b"9:code", b"x", b"4:code4", b"4:code1:\xff", b"7:@secret"])
def test_damaged_names(session, stored, text):
    """A damaged list of names harms nothing, and is mended by the next lifetime."""
    stored.raw.hset(stored.name, "@expiring", text)
    other = again(session)
    assert other["code"] == "1234"
    other["code"] = "5678"
    other.set("hint", 1, expires_in=LONG)
    other.save()
    other.cycle_key()
    assert Hash(stored.raw, other).names == {"hint"}


# Written anew


def create(session):
    session.set("hint", 1, expires_in=LONG)
    session.create()


def create_and_save(session):
    create(session)
    session["size"] = 1
    session.save()


def cycle_a_session_that_is_gone(session):
    again(session).delete()
    session.set("hint", 1, expires_in=LONG)
    session.cycle_key()
    session.save()


def cycle_with_a_user(session):
    """Another request cycles the session, so this one creates a second one beside it."""
    session["_auth_user_id"] = "1"
    session.save()
    again(session).cycle_key()
    session.set("hint", 1, expires_in=LONG)
    session.cycle_key()
    session["size"] = 1
    session.save()


@pytest.mark.parametrize(
    "write", [create, create_and_save, cycle_a_session_that_is_gone, cycle_with_a_user]
)
@pytest.mark.parametrize("is_read", [False, True])
def test_written_anew(session, raw, write, is_read):
    """If a session is written anew, entries that would expire are left out."""
    other = again(session)
    assert not is_read or other["code"] == "1234"
    assert other["color"] == "red"
    write(other)
    assert other.session_key != session.session_key
    assert as_coded(other) == as_coded(again(other)) == ("red", None)
    stored = Hash(raw, other)
    assert stored.left("hint") in MILLISECONDS
    assert stored.names == {"hint"}


def test_written_anew_with_a_new_value(session, raw):
    """A value that this request assigned is written, as any other."""
    other = again(session)
    other["code"] = "5678"
    other.create()
    assert as_coded(again(other)) == ("red", "5678")
    assert Hash(raw, other).left("code") == -1


def test_entries_of_another_store(session, raw):
    """Entries that a store takes over from another one leave out those that would expire."""
    copy = SessionStore()
    copy._session_cache = again(session)._session
    copy.save()
    assert as_coded(again(copy)) == ("red", None)


class Overriding(SessionStore):
    """A site's own store."""

    def save(self, must_create=False):
        self["saved"] = True
        super().save(must_create)

    def load(self):
        return dict(super().load())


def test_a_store_of_the_site(session, raw):
    """A site's own store, which overrides methods and copies entries, keeps the lifetimes."""
    other = Overriding(session.session_key)
    assert other["code"] == "1234"
    other.save()
    other.cycle_key()
    stored = Hash(raw, other)
    assert stored.left("code") in MILLISECONDS
    assert stored.fields[b"saved"] == b"true"
    other.create()
    assert as_coded(again(other)) == ("red", None)


# The session


def test_a_session_whose_last_entry_expired(raw):
    """A session is still one after its last entry has expired."""
    session = begun()
    session.set("code", "1234", expires_in=LONG)
    session.save()
    Hash(raw, session).let_expire("code")
    other = again(session)
    assert (other.is_empty(), dict(other.items())) == (False, {})
    assert other.exists(session.session_key)
    other.save()
    assert again(session).exists(session.session_key)


def test_an_ended_session(session):
    """An ended session does not come back for an entry that expires."""
    other = again(session)
    other.set("hint", 1, expires_in=LONG)
    session.delete()
    with pytest.raises(SessionGone):
        other.save()
    assert not again(other).exists(other.session_key)


def test_scopes(session, stored):
    """An entry of a scope can expire as well."""
    scope = session.scope("cart")
    scope.set("voucher", 5, expires_in=LONG)
    asyncio.run(scope.aset("hint", 5, expires_in=LONG))
    session.save()
    assert stored.left("scope:cart:voucher") in MILLISECONDS
    assert stored.left("scope:cart:hint") in MILLISECONDS
    scope.set("voucher", 6)
    session.save()
    assert stored.left("scope:cart:voucher") == -1


# The page about them

CODES = text_of("docs/expiring-entries.md")


@pytest.fixture
def views(settings):
    """The views of the page's example, for the session that they are called with."""
    names = {}
    for block in blocks(section(CODES, "## A login code that works for five minutes"), "python"):
        exec(block, names)
    settings.ROOT_URLCONF = "tests.expiring"

    def call(name, session, **posted):
        request = RequestFactory().post("/", posted)
        request.session, request.user = session, User(email="ada@example.com")
        answer = names[name](request)
        session.save()
        return answer.status_code

    return call


def test_the_login_code(session, stored, views, mailoutbox):
    """A code works once, within five minutes."""
    assert views("send_code", session) == 302
    assert 0 < stored.left("login_code") <= 300_000
    code = mailoutbox[0].body[-6:]
    assert views("enter_code", again(session), code=code) == 302
    assert views("enter_code", again(session), code=code) == 400
    views("send_code", session)
    assert views("enter_code", again(session), code="another") == 400
    views("send_code", session)
    stored.let_expire("login_code")
    assert views("enter_code", again(session), code=mailoutbox[2].body[-6:]) == 400


# For people


def test_inspecting(session, stored):
    """``inspect()`` says how long entries still have."""
    found = session.inspect()
    assert set(found.expiring) == {"code"}
    assert 0 < found.expiring["code"] <= LONG
    stored.let_expire("code")
    assert session.inspect().expiring == {}
    assert begun().inspect().expiring == {}


def test_the_registry(session):
    """The entries of a live session say how long they still have."""
    found = registry.find(Hash(None, session).name.rpartition(":")[2])
    left = {entry.name: entry.expires_in for entry in found.entries()}
    assert left["color"] is None
    assert 0 < left["code"] <= LONG
