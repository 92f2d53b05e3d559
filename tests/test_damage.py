"""Damage in Redis stays local: if one row of a list is damaged, the others stay as they were."""

import time
from datetime import timedelta, timezone

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import quote
from django.contrib.auth.models import User
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sessions_redis import registry
from sessions_redis.models import Session
from sessions_redis.registry import Selection
from sessions_redis.registry.live_sessions import NEVER, session_of
from sessions_redis.registry.statistics import measure
from sessions_redis.storage import listings
from sessions_redis.storage.keyspaces import Keyspace
from tests.section import listed, own_id, signed_in, text_of, url, use_section
from tests.test_commands_management import run

pytestmark = pytest.mark.django_db

LATER = 9_999_999_999
FAR = 10**12  # seconds since 1970, in the year 33658
LONG = b"9" * 200_000

NO_IDS = [
    b"\xff\xfe",
    b"",
    b"x",
    b"index",
    b"user:1",
    b"A" * 32,
    b"0" * 33,
    b"0" * 31 + b"\n",
    LONG,
]


class Damaged:
    """A session of Ada's that the test damages, with its names in Redis."""

    def __init__(self, raw, prefix, user_pk):
        self.raw, self.prefix, self.user_pk = raw, prefix, user_pk
        self.id = signed_in(user_pk)
        self.key = f"{prefix}:{self.id}"

    def indexes(self):
        names = ("index", "index:signed-in", "index:anonymous", f"user:{self.user_pk}")
        return [f"{self.prefix}:{name}" for name in names]

    def put(self, member, score=LATER):
        """Add a member to every index."""
        for name in self.indexes():
            self.raw.zadd(name, {member: score})
            self.raw.expire(name, 1000)


def field(name, value):
    return lambda it: it.raw.hset(it.key, name, value)


def other_type(it):
    it.raw.delete(it.key)
    it.raw.lpush(it.key, "text")
    it.raw.expire(it.key, 1000)


def hash_under_no_id(it):
    it.put("no-id")
    it.raw.hset(f"{it.prefix}:no-id", mapping={"@created": 1, "@user": it.user_pk})
    it.raw.expire(f"{it.prefix}:no-id", 1000)


def far(it):
    it.raw.pexpireat(it.key, FAR * 1000)
    it.put(it.id, FAR)


DAMAGES = {
    **{f"member {member[:40]!r}": lambda it, member=member: it.put(member) for member in NO_IDS},
    "a hash under a name that is not an ID": hash_under_no_id,
    "a time beyond the year 9999": far,
    "a hash that is persistent": lambda it: it.raw.persist(it.key),
    "a list in place of the hash": other_type,
    "no date of creation": lambda it: it.raw.hdel(it.key, "@created"),
    **{
        f"{name} is {value[:10]!r}": field(name, value)
        for name in ("@created", "@updated")
        for value in (b"", b"\xff", b"99999999999", LONG)
    },
    **{
        f"the user is {value[:10]!r}": field("@user", value)
        for value in (b"", b"\xff\xfe", b"a\x00b", b"a/../b\n", b"\xe2\x80\xae", LONG)
    },
    **{
        f"{name} is {value[:10]!r}": field(name, value)
        for name in ("@ip", "@agent")
        for value in (b"", b"\xff\x00", b"<script>", LONG)
    },
}


@pytest.fixture(autouse=True)
def section(request):
    use_section(request.getfixturevalue("settings"))


@pytest.fixture
def ada():
    return User.objects.create_user("ada")


@pytest.fixture
def good(ada):
    """The ID of Ada's other session, which is not damaged."""
    return signed_in(ada)


@pytest.fixture(params=DAMAGES)
def damaged(request, raw, prefix, ada, good):
    damaged = Damaged(raw, prefix, str(ada.pk))
    DAMAGES[request.param](damaged)
    yield damaged
    raw.delete(damaged.key)


QUERIES = ["", "o=7", "o=-7", "signed_in=yes", "expires=day", "q=ada", "q={good}", "user={ada}"]
QUERIES += ["q={bad}", "signed_in=no", "expires=hour", "p=1", "all="]


def test_the_admins_list(admin_client, ada, good, damaged):
    """The list shows the other sessions in each order, with each filter and search."""
    for query in QUERIES:
        asked = query.format(good=good, ada=ada.pk, bad=damaged.id)
        page = admin_client.get(f"{url()}?{asked}")
        assert page.status_code == 200, asked
        hidden = {"signed_in=no", "expires=day", "expires=hour", "q={bad}"}
        assert (good in listed(page)) == (query not in hidden), asked
        assert len(page.content) < 200_000, asked


def test_the_admins_pages(admin_client, ada, good, damaged):
    """
    The pages of the other session, the pages that ask before ending, and the page of the damaged
    session.
    """
    both = {"action": "delete_selected", "_selected_action": [good, damaged.id], "index": 0}
    across = {**both, "select_across": "1"}
    pages = [
        admin_client.get(url("change", good)),
        admin_client.get(url("delete", good)),
        admin_client.get(url("end_all", ada.pk)),
        admin_client.post(url(), both),
        admin_client.post(url(), across),
    ]
    for page in pages:
        assert page.status_code == 200
        assert f"{good[:8]} (ada)" in text_of(page)
    for name in ("change", "delete", "history"):
        assert admin_client.get(url(name, damaged.id)).status_code in {200, 302}


@pytest.mark.parametrize("way", ["one", "selected", "across", "all of a user"])
@pytest.mark.parametrize(
    "damaged", [*list(DAMAGES)[::3], "a hash that is persistent"], indirect=True
)
def test_ending(admin_client, ada, good, damaged, way):
    """The other session can be ended in each way, and the log records it."""
    form = {"post": "yes", "own": "yes", "action": "delete_selected"}
    address, more = {
        "one": (url("delete", good), {}),
        "selected": (url(), {"_selected_action": [good, damaged.id]}),
        "across": (url(), {"_selected_action": [""], "select_across": "1"}),
        "all of a user": (url("end_all", ada.pk), {}),
    }[way]
    assert admin_client.post(address, form | more).status_code == 302
    assert registry.find(good) is None
    assert good in {entry.object_id for entry in LogEntry.objects.all()}
    assert admin_client.post(url("delete", damaged.id), form).status_code == 302


def test_the_registry(ada, good, damaged):
    """Each function returns the other sessions."""
    user = str(ada.pk)
    for selection in (
        Selection(),
        Selection(latest_first=False),
        Selection(signed_in=True),
        Selection(signed_in=True, users=(user,)),
        Selection(users=(user, "nobody"), latest_first=False),
    ):
        assert registry.count(selection) >= 1
        assert good in [session.id for session in registry.latest(0, 50, selection)]
    assert good in [session.id for session in registry.latest(0, 50, Selection(within=10**9))]
    assert good in [session.id for session in registry.of_user(ada)]
    assert registry.find_many([damaged.id, good])[-1].id == good
    assert sum(registry.by_time_left([0, float("inf")])[0]) >= 1
    registry.find(damaged.id)
    registry.trim()
    assert registry.end_all_of(ada, except_id=damaged.id) >= 1
    assert registry.find(good) is None


def test_the_commands(ada, good, damaged):
    """The commands count, trim and end the other sessions."""
    assert measure(100).bytes_per_session > 0
    assert "signed in" in run("sessionstats")
    assert run("clearsessions") == ""
    assert run("endsessions", "ada", "--all-but-newest").startswith("ada: ")
    assert run("endsessions", "ada").startswith("ada: ")
    assert registry.find(good) is None


def test_self_service(client, ada, good, damaged):
    """The pages and the API show a user the other sessions, and end them."""
    client.force_login(ada)
    own = own_id(client)
    for page in ("", f"{own}/end/", f"{good}/end/", "others/end/"):
        response = client.get(f"/account/sessions/{page}")
        assert response.status_code == 200, page
        assert len(response.content) < 100_000
    assert {own, good} <= {one["id"] for one in client.get("/api/sessions/").json()["sessions"]}
    assert client.get(f"/account/sessions/{damaged.id}/end/").status_code in {200, 404}
    assert client.post("/account/sessions/others/end/").status_code == 302
    assert registry.find(good) is None
    assert client.get("/account/sessions/").status_code == 200


# Damaged rows


@pytest.mark.parametrize("member", NO_IDS)
def test_members_that_are_not_ids_are_removed(ada, good, raw, prefix, member):
    """
    Reading a list removes such members from the index, and from the other indexes of the same
    sessions.
    """
    damaged = Damaged(raw, prefix, str(ada.pk))
    damaged.put(member)
    registry.latest()
    registry.of_user(ada)
    for name in damaged.indexes():
        assert raw.zscore(name, member) is None
    assert registry.count() == 2


def test_a_hash_under_a_name_that_is_not_an_id(ada, good, raw, prefix):
    """It is not a session: its member is removed from the index, and the hash is not changed."""
    hash_under_no_id(Damaged(raw, prefix, str(ada.pk)))
    assert "no-id" not in [session.id for session in registry.latest()]
    assert raw.zscore(f"{prefix}:index", "no-id") is None
    assert raw.exists(f"{prefix}:no-id")


@pytest.mark.parametrize("damage", ["a time beyond the year 9999", "a hash that is persistent"])
def test_sessions_that_never_expire(admin_client, ada, good, raw, prefix, damage):
    """They are listed, because they can be used. The pages say that they never expire."""
    damaged = Damaged(raw, prefix, str(ada.pk))
    DAMAGES[damage](damaged)
    assert registry.find(damaged.id).expires == NEVER
    page = admin_client.get(url())
    assert damaged.id in listed(page)
    assert "never" in text_of(page)
    assert "Expires: never" in text_of(admin_client.get(url("change", damaged.id)))
    admin_client.post(url("delete", damaged.id), {"post": "yes"})
    assert not raw.exists(damaged.key)


@pytest.mark.parametrize("score", ["inf", "1e300", "-inf", "-1e300", "0", "1e-300"])
def test_scores_beyond_all_times(client, ada, good, raw, prefix, score):
    """A member's score may be any number. Lists and statistics leave out expired members."""
    client.force_login(User.objects.create_superuser("boss"))
    Damaged(raw, prefix, str(ada.pk)).put("0" * 32, score)
    for query in QUERIES[:8]:
        asked = query.format(good=good, ada=ada.pk)
        page = client.get(f"{url()}?{asked}")
        assert (good in listed(page)) == (asked != "expires=day"), asked
        assert "0" * 32 not in listed(page)
    assert good in [session.id for session in registry.of_user(ada)]
    assert registry.by_time_left([0, float("inf")]) == ([3], [0])
    assert measure(100).sampled == 3


# Any bytes in a hash.
field_values = st.lists(st.none() | st.binary(max_size=20), min_size=7, max_size=7)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(field_values, st.integers(-1, 2**63 - 1), st.floats(0, 2**40))
def test_any_metadata(values, pttl, now):
    """A session is made of any metadata. Its times are valid in every time zone."""
    asked = Keyspace("session")
    metadata = listings.metadata(asked, "0" * 32).read(values)
    assert (metadata is None) == (values[0] is None)
    if metadata is not None:
        found = session_of("0" * 32, metadata, now, listings.ttl(asked, "0" * 32).read(pttl))
        times = (found.created, found.updated, found.expires, found.last_active)
        for moment in (*times, found.seen or found.created, found.ends or found.created):
            assert moment.astimezone(timezone(timedelta(hours=14))).year >= 1970
        assert str(Session.of(found)).isprintable()


def test_an_empty_user_is_anonymous(admin_client, raw, prefix):
    """An empty ``@user`` means no user, as in the scripts."""
    id = signed_in()
    raw.hset(f"{prefix}:{id}", "@user", "")
    assert registry.find(id).user_pk is None
    assert "anonymous" in text_of(admin_client.get(url("change", id)))


def test_long_values_are_cut(admin_client, ada, raw, prefix):
    """A page shows only the beginning of a long address, user agent or primary key."""
    id = signed_in()
    values = {"@ip": LONG, "@agent": LONG, "@user": b"\x00\n" + LONG}
    raw.hset(f"{prefix}:{id}", mapping=values)
    found = registry.find(id)
    assert (len(found.ip), len(found.user_agent)) == (1000, 1000)
    page = text_of(admin_client.get(url("change", id)))
    assert rf"\x00\n{'9' * 148}… (deleted)" in page
    admin_client.post(url("delete", id), {"post": "yes"})
    assert LogEntry.objects.get().object_repr.startswith(rf"{id[:8]} (user \x00\n999")


def test_null_characters(admin_client, ended):
    """
    A primary key may contain null characters. It is looked up in Redis, and never in the database.
    """
    pk = "a\x00b"
    id = signed_in(pk)
    assert admin_client.get(url(), {"q": pk}).status_code == 200
    assert listed(admin_client.get(url(), {"user": pk})) == [id]
    assert admin_client.post(url("end_all", quote(pk)), {"post": "yes"}).status_code == 302
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.object_repr) == (id, rf"{id[:8]} (user a\x00b)")
    assert "\x00" not in entry.change_message
    assert ended == [(id, pk, "admin")]


def test_null_characters_of_a_user_who_signs_in_meanwhile(admin_client, monkeypatch):
    """The log accepts such a user whose sessions were not known before they were ended."""
    end, ids = registry.end_each_of, []

    def end_after_a_login(pk, **kwargs):
        ids.append(signed_in(pk))
        return end(pk, **kwargs)

    monkeypatch.setattr(registry, "end_each_of", end_after_a_login)
    admin_client.post(url("end_all", quote("a\x00b")), {"post": "yes"})
    assert LogEntry.objects.get().object_repr == rf"{ids[0][:8]} (user a\x00b)"


def test_sampling_counts_members_that_are_not_ids(raw, prefix):
    """A member of the index that is not an ID counts as drift."""
    signed_in()
    raw.zadd(f"{prefix}:index", {b"\xff\xfe": LATER, "index": time.time() + 1000, "x": "inf"})
    statistics = measure(100)
    assert (statistics.live, statistics.sampled, statistics.drift) == (4, 4, 0.75)
