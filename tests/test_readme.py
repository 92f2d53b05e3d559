"""What the README and the docs say is true."""

import inspect
import re
from pathlib import Path

import pytest
from asgiref.sync import async_to_sync
from django.test import RequestFactory

from config.environment import REQUIRED
from sessions_redis import checks, conf, locations, registry
from sessions_redis.engine import SessionStore
from sessions_redis.registry import statistics
from sessions_redis.storage.commands import session_id
from tests.servers import Server
from tests.test_round_trips import OPERATIONS, exercise

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
REDIS = (ROOT / "docs" / "redis.md").read_text()
MASKING = (ROOT / "docs" / "masking.md").read_text()


def section(text, title):
    """The text below one heading, up to the next of that level or above."""
    level = title.split(" ")[0]
    _, _, rest = text.partition(f"\n{title}\n")
    assert rest, f"no section {title!r}"
    return re.split(rf"\n#{{1,{len(level)}}} ", rest)[0]


def rows(text):
    """The first two cells of each row of the tables in ``text``, their headings left out."""
    cells = [re.split(r"\s*\|\s*", line.strip())[1:3] for line in text.splitlines() if "|" in line]
    headings = {position - 1 for position, (first, _) in enumerate(cells) if set(first) == {"-"}}
    return [
        tuple(pair)
        for position, pair in enumerate(cells)
        if position not in headings and set(pair[0]) != {"-"}
    ]


def blocks(text, language):
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def shown(default):
    """A default as the settings table writes it."""
    written = {None: {}, (): []}.get(default, default)
    return f"`{written!r}`".replace("'", '"')


def test_settings_table():
    """It lists every setting there is, no other, and its default."""
    documented = dict(rows(section(README, "### Settings")))
    defaults = conf.Conf(location="")
    real = {
        f"`{name}`": "none, required"
        if name == "LOCATION"
        else shown(getattr(defaults, name.lower()))
        for name in conf._TYPES
    }
    assert documented == real


def test_every_location_is_documented():
    """Each scheme that LOCATION takes is named in the table."""
    assert all(f"`{scheme}://" in section(README, "### Settings") for scheme in locations.SCHEMES)


def test_round_trip_table():
    """It is the table that the tests count."""
    documented = dict(rows(section(README, "## Promises")))
    assert documented == {name: str(trips) for name, (_, _, trips) in OPERATIONS.items()}


PAGES = ["README.md", *(f"docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md")))]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    """Every relative link is a file of the project."""
    links = re.findall(r"\]\((?!https?://)([^)#]+)", (ROOT / page).read_text())
    assert all((ROOT / page).parent.joinpath(link).exists() for link in links)


def test_what_production_needs():
    """The page about the demonstration site names each variable that a production start needs."""
    documented = dict(rows((ROOT / "docs" / "demo.md").read_text()))
    assert documented.keys() == {f"`{name}`" for name in (*REQUIRED, "TRUSTED_PROXIES")}


def test_checks_are_listed():
    """The module's list of checks has every id that the code uses, and no other."""
    used = set()
    for module in (checks, conf):
        used |= set(re.findall(r'"sessions_redis\.([EW]\d+)"', inspect.getsource(module)))
    assert set(re.findall(r"^([EW]\d+) ", checks.__doc__, re.MULTILINE)) == used


@pytest.fixture(params=["new", "known"])
def visitor(request):
    """The session of a visitor at the start of a request, who is new, or has been here before."""
    session = SessionStore()
    if request.param == "known":
        session["color"] = "red"
        session.save()
    return SessionStore(session.session_key)


def stored_in(session):
    return dict(SessionStore(session.session_key).items())


def requested_with(session):
    request = RequestFactory().get("/")
    request.session = session
    return request


def test_the_example_of_a_view(visitor):
    """It does what its comments say, for every visitor."""
    view, _ = blocks(section(README, "### More than Django's sessions"), "python")
    before = stored_in(visitor)
    example(view)["view"](requested_with(visitor))
    visitor.save()
    assert stored_in(visitor) == before | {"visits": 1}


def test_the_example_of_an_async_view(visitor):
    """So does the other one."""
    _, view = blocks(section(README, "### More than Django's sessions"), "python")
    before = stored_in(visitor)
    async_to_sync(example(view)["view"])(requested_with(visitor))
    visitor.save()
    assert stored_in(visitor) == before | {"visits": 1, "scope:cart:pears": 2}


def test_the_example_of_masking(visitor):
    """The first example of docs/masking.md works for every visitor."""
    code = blocks(MASKING, "python")[0]
    visitor["password"] = "hush"
    names = example(code, request=requested_with(visitor))
    assert names["mask"]("form", names["form"])["password"] != "hush"
    assert "hush" not in names["masked_json"]("form", names["form"])


def test_the_registry_of_the_readme(live):
    """Each of its lines works, in the order in which they stand."""
    live["_auth_user_id"] = "1"
    live.save()
    other = SessionStore()
    other["_auth_user_id"] = "1"
    other.save()
    (code,) = blocks(section(README, "### Who is signed in"), "python")
    example(code, user="1", request=requested_with(live), session_id="0123456789abcdef" * 2)
    assert [found.id for found in registry.of_user("1")] == [session_id(live.session_key)]


def example(code, **names):
    """The names that there are after the README's ``code``."""
    exec(code, names)
    return names


def test_literal_key(live, prefix):
    """A session's key in Redis is the literal one that the README shows, by its prefix."""
    literal = re.search(
        r"redis-cli -s \.redis/valkey\.sock HGETALL (session:[0-9a-f]{32})\n", README
    )[1]
    stored = live.inspect()
    assert len(stored.redis_key) - len(prefix) == len(literal) - len("session")
    shown = re.findall(
        r'^ ?\d+\) "(@?\w+)"$', section(README, "## What you see in Redis"), re.MULTILINE
    )
    assert {"@created", "@updated"} <= set(shown) & set(stored.fields)


def test_scopes_are_stored_as_the_docs_say(live):
    """The field of a scope's entry is scope:<name>:<key>, in the escapes that are documented."""
    live.scope("noah")["sessionStatus"] = "ACTIVE"
    live.scope("a:b%")["c:d"] = 1
    live.save()
    fields = live.inspect().fields
    assert fields["scope:noah:sessionStatus"] == '"ACTIVE"'
    assert "scope:a%3Ab%25:c:d" in fields
    assert '"scope:noah:sessionStatus"' in README


def test_the_restricted_user_may_do_everything(settings, session_redis, tmp_path):
    """A Redis user with the documented commands and keys can do all that a site does."""
    (rule,) = [line for line in REDIS.splitlines() if line.startswith("ACL SETUSER")]
    server = Server(tmp_path)
    try:
        with server.client() as client:
            client.execute_command(*rule.split())
            client.execute_command("ACL", "SETUSER", "default", "off")
            url = server.url.replace("redis://", "redis://sessions:password@")
            settings.SESSION_REDIS = {"LOCATION": url}
            exercise(SessionStore())
            session = SessionStore()
            session["color"] = "red"
            session.save()
            session.clear()
            session["_auth_user_id"] = "1"
            session.save()
            assert statistics.measure(10).signed_in == registry.count() == 1
            assert len(registry.latest()) == len(registry.of_user("1")) == 1
            assert sum(map(sum, registry.by_time_left([0, 86400, 10**9]))) == 1
            registry.trim()
            assert registry.end_all_of("1") == 1
    finally:
        server.stop()


def test_what_the_docs_say_of_memory(settings, session_redis, tmp_path):
    """A signed-in session is stored compactly with hash-max-listpack-value 256, and not with 64."""
    server = Server(tmp_path)
    try:
        settings.SESSION_REDIS = {**session_redis, "LOCATION": server.url}
        with server.client() as client:
            encodings = []
            for limit in (256, 64):
                client.config_set("hash-max-listpack-value", limit)
                session = SessionStore()
                session.update({"_auth_user_id": "1", "_auth_user_hash": "f" * 64})
                session.save()
                encodings.append(client.object("encoding", session.inspect().redis_key))
    finally:
        server.stop()
    assert encodings == [b"listpack", b"hashtable"]
