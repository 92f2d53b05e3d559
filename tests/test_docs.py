"""What the docs say is true."""

import ast
import inspect
import re
import shlex
import sys
from itertools import pairwise
from pathlib import Path
from textwrap import dedent
from types import ModuleType

import pytest
from asgiref.sync import async_to_sync
from django.core.management import get_commands
from django.test import RequestFactory
from django.urls import resolve
from redis.credentials import CredentialProvider

import sessions_redis
from config.environment import REQUIRED
from sessions_redis import checks, conf, exceptions, locations, problems, registry
from sessions_redis.checks import server, versions
from sessions_redis.clients import pipelines, pools
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.models import Session
from sessions_redis.registry import finding, statistics
from sessions_redis.storage import entries, listings
from sessions_redis.storage.commands import session_id
from sessions_redis.storage.servers import Identity
from sessions_redis.web import unavailable, visitors
from tests.documents import (
    PAGES,
    ROOT,
    anchors,
    blocks,
    cells,
    commands,
    links,
    rows,
    section,
    text_of,
)
from tests.servers import Server
from tests.test_round_trips import OPERATIONS, exercise
from tests.weather.__main__ import WEATHERS
from userapi import views

SETTINGS = text_of("docs/settings.md")
REDIS = text_of("docs/redis.md")
DESIGN = text_of("docs/design.md")
CHECKS = text_of("docs/checks.md")
CONTRIBUTING = text_of("CONTRIBUTING.md")

PACKAGE = Path(sessions_redis.__file__).parent

# What benchmarks write, which git does not keep.
MADE = {"benchmarks/results/"}

every_page = pytest.mark.parametrize("page", PAGES)


@every_page
def test_links_lead_somewhere(page):
    """Every relative link is a file of the project, and its anchor is a heading there."""
    for link in links(text_of(page)):
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent.joinpath(path) if path else ROOT / page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text("utf-8")), link


@every_page
def test_python_can_be_read(page):
    """Each block of Python is Python."""
    found = re.findall(r"^( *)```python\n(.*?)^\1```", text_of(page), re.DOTALL | re.MULTILINE)
    for _, block in found:
        code = dedent(block)
        ast.parse(f"{code}def test(): ..." if code.startswith("@override_settings") else code)


SHOP = {"shop.tenants": {"key_prefix": str}, "shop.sessions": {"cap": abs, "longest": abs}}


@every_page
def test_settings_can_be_used(page, monkeypatch):
    """Each ``SESSION_REDIS`` that a page shows is without mistakes."""
    # The site of the docs, with the functions that settings name.
    monkeypatch.setitem(sys.modules, "shop", ModuleType("shop"))
    for name, functions in SHOP.items():
        module = ModuleType(name)
        vars(module).update(functions)
        monkeypatch.setitem(sys.modules, name, module)
    for block in blocks(text_of(page), "python"):
        for setting in re.findall(r"^SESSION_REDIS = (\{.*?\})$", block, re.DOTALL | re.MULTILINE):
            names = {
                "BASE_DIR": "/srv/site",
                "os": Environment,
                "settings": Environment,
                "Tokens": CredentialProvider,
            }
            assert list(conf.problems(eval(setting, names))) == []


class Environment:
    """``os``, in settings that take a password, a URL or a key from the environment."""

    environ = {  # noqa: RUF012
        "REDIS_PASSWORD": "countess",
        "REDIS_URL": "rediss://host:6379/0",
        "SESSION_KEY": "0d" * 32,
    }


@every_page
def test_commands_exist(page):
    """Each command for ``manage.py``, ``make`` or ``python -m`` that a page shows is there."""
    makefile = text_of("Makefile")
    for command in commands(text_of(page)):
        words = shlex.split(command, comments=True)
        for before, name in pairwise(words):
            if before.endswith("manage.py"):
                assert name in get_commands(), command
            if before == "make":
                assert re.search(rf"^{name}:", makefile, re.MULTILINE), command
            if before == "-m" and name.startswith("benchmarks"):
                assert (ROOT / f"{name.replace('.', '/')}.py").exists(), command


@every_page
def test_files_exist(page):
    """Each file or folder of the project that a page names in backticks is there."""
    folders = "sessions_redis|tests|docs|benchmarks|config|userapi"
    named = set(re.findall(rf"`((?:{folders})/[\w./-]+)`", text_of(page))) - MADE
    assert [path for path in named if not (ROOT / path).exists()] == []


@every_page
def test_names_exist(page):
    """Each name of the package that a page spells out in full can be imported."""
    written = text_of(page)
    for name in re.findall(r"`(sessions_redis(?:\.\w+)+)", written):
        *parts, last = name.split(".")
        if re.fullmatch(r"[EIW]\d{3}", last):
            continue  # a system check, which has a test of its own
        path = PACKAGE.joinpath(*parts[1:])
        module = path if path.is_dir() else path.with_suffix(".py")
        is_module = (path / last).is_dir() or (path / f"{last}.py").exists()
        assert (
            is_module or last in (module if module.is_file() else path / "__init__.py").read_text()
        )


# Settings


def shown(name, default):
    """A default as the settings table writes it."""
    written = {} if name == "OPTIONS" else {(): []}.get(default, default)
    return f"`{written!r}`".replace("'", '"')


def test_settings_table():
    """It lists every setting there is, no other, and its default."""
    table = SETTINGS.partition("\n## ")[0]
    documented = {re.search("`[A-Z_]+`", name)[0]: default for name, default in rows(table)}
    defaults = conf.Conf(location="")
    real = {
        f"`{name}`": "none, required"
        if name == "LOCATION"
        else shown(name, getattr(defaults, name.lower()))
        for name in problems.TYPES
    }
    assert documented == real


def test_each_setting_has_a_section():
    """Its heading has the setting's name."""
    headings = re.findall("^## (.*)$", SETTINGS, re.MULTILINE)
    for name in problems.TYPES:
        assert any(name in re.findall("[A-Z_]+", heading) for heading in headings), name


def test_every_location_is_documented():
    """Each scheme that LOCATION takes is in its table, and no other."""
    table = rows(section(SETTINGS, "## LOCATION"))
    assert {re.match("`([a-z+]+)://", url)[1] for url, _ in table} == locations.SCHEMES.keys()


def test_the_defaults_of_options(timeouts_of_a_site):
    """The table has the defaults of the client, in their units."""
    documented = dict(rows(section(SETTINGS, "## OPTIONS")))
    defaults = timeouts_of_a_site | pools.POOL
    assert {name: documented[f"`{name}`"] for name in defaults} == {
        name: f"`{value}`" for name, value in defaults.items()
    }
    low, high = pools.BACKOFF["base"], pools.BACKOFF["cap"]
    assert documented["`retry`"] == f"{pools.RETRIES} retries, {low} to {high} seconds apart"


def test_what_production_needs():
    """The page about the demonstration site names each variable that a production start needs."""
    documented = dict(rows(text_of("docs/demo.md")))
    assert documented.keys() == {f"`{name}`" for name in (*REQUIRED, "TRUSTED_PROXIES")}


def ids_in_code():
    """The IDs of the system checks that the package reports."""
    sources = [path.read_text() for path in PACKAGE.rglob("*.py")]
    return set(re.findall(r'"sessions_redis\.([EIW]\d{3})"', "".join(sources)))


def test_checks_are_listed():
    """The lists of the module and of the docs have every ID that the code uses, and no other."""
    used = ids_in_code()
    assert set(re.findall(r"^([EIW]\d{3}) ", checks.__doc__, re.MULTILINE)) == used
    listed = [re.search(r"\.([EIW]\d{3})`", id)[1] for id, _ in rows(CHECKS)]
    assert sorted(listed) == sorted(used)


def test_which_checks_need_deploy():
    """The list of the module marks the checks of deployment, as the page does."""
    deployment = rows(section(CHECKS, "## Checks for deployment"))
    listed = {re.search(r"\.([EIW]\d{3})`", id)[1] for id, _ in deployment}
    assert set(re.findall(r"^([EIW]\d{3}) \* ", checks.__doc__, re.MULTILINE)) == listed


def test_ids_are_used_once():
    """Each check has a number of its own, whatever its level is."""
    used = ids_in_code()
    assert len({id[1:] for id in used}) == len(used)


def test_the_versions_that_fix_lua():
    """The check of the server's version goes by the table of the docs."""
    for servers, first in rows(section(REDIS, "## Versions")):
        name, *lines = re.findall(r"[A-Za-z]+|\d+\.\d+", servers.partition(", no longer")[0])
        for line in lines:
            patch = re.match(rf"{line}\.(\d+)$", first)
            safe = {"none": None, "all": 0}[first.partition(";")[0]] if patch is None else patch[1]
            assert (safe is None) == versions.has_faults_in_lua(Identity(name, f"{line}.99"))
            if safe:
                faulty, fixed = (f"{line}.{int(safe) - less}" for less in (1, 0))
                assert versions.has_faults_in_lua(Identity(name, faulty))
                assert not versions.has_faults_in_lua(Identity(name, fixed))


def test_what_the_check_says_of_memory():
    """The figures in the message of W017 are those of the docs."""
    text = section(REDIS, "## Memory")
    assert f"takes {server.COMPACT_BYTES} bytes instead of {server.LOOSE_BYTES}" in text
    assert f"hash-max-listpack-value {server.RECOMMENDED}" in text


def test_each_weather_is_explained():
    """The page about the weather has all that ``make weather`` makes, in its order."""
    table = rows(section(text_of("docs/weather.md"), "## The kinds of weather"))
    assert [name for name, _ in table] == [f"`{name}`" for name in WEATHERS]


def test_permissions_are_listed():
    """The page about the admin has the permissions, under the names that they have there."""
    table = rows(section(text_of("docs/admin.md"), "## Permissions"))
    assert {what for what, _ in table} == {
        f"{name} (`{codename}`)" for codename, name in Session._meta.permissions
    }


@pytest.mark.parametrize(
    ("page", "written", "number"),
    [
        ("docs/async.md", "trip, up to {} at a time", pipelines.PIPELINE_LIMIT),
        ("docs/demo.md", "A session can have {} user names", views.MAX_NAMES),
        ("docs/redis.md", "at most {} bytes", visitors.MAX_AGENT),
        ("docs/redis.md", "no script works on more than about {:,} sessions", listings.BATCH_SIZE),
        ("docs/who-is-signed-in.md", "looks at about {:,} sessions at most", finding.SEARCHED),
        ("docs/outages.md", "503 with `Retry-After: {}`", unavailable.RETRY_AFTER),
    ],
)
def test_numbers(page, written, number):
    """The limits that the docs name are those of the code."""
    assert written.format(number) in " ".join(text_of(page).split())


# Examples


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


def example(code, **names):
    """The names that there are after ``code``."""
    exec(code, names)
    return names


def test_the_example_of_a_view(visitor):
    """It does what its comments say, for every visitor."""
    page = text_of("docs/sessions.md")
    (view,) = blocks(section(page, "## More than Django's sessions"), "python")
    before = stored_in(visitor)
    example(view)["view"](requested_with(visitor))
    visitor.save()
    assert stored_in(visitor) == before | {"visits": 1}


def test_the_example_of_an_async_view(visitor):
    """So does the other one."""
    (view,) = blocks(text_of("docs/async.md"), "python")
    before = stored_in(visitor)
    async_to_sync(example(view)["view"])(requested_with(visitor))
    visitor.save()
    assert stored_in(visitor) == before | {"visits": 1, "scope:cart:pears": 2}


def test_the_examples_of_entries_that_others_change(live):
    """Each does what the page says."""
    view, pay = blocks(text_of("docs/concurrency.md"), "python")
    example(view)["view"](requested_with(live))
    assert stored_in(live) == {
        "color": "red", "visits": 1, "seen": ["pears"], "total": 2.5, "paid": True,
    }  # fmt: skip
    assert example(pay)["pay"](requested_with(live)).status_code == 200
    other = SessionStore(live.session_key)
    with other.lock():
        impatient = example(pay.replace("wait=5", "wait=0"))["pay"]
        assert impatient(requested_with(live)).status_code == 409


def test_the_example_of_replacing_all(live):
    """A session that takes the entries of another one holds these, and no others."""
    other = SessionStore()
    other["size"] = "large"
    code = blocks(section(text_of("docs/sessions.md"), "## What a save writes"), "python")[0]
    other.save()
    example(code, session=live, other=other)
    assert stored_in(live) == {"size": "large"}


def test_the_example_of_a_subclass(live, settings):
    """It hides a session that was started elsewhere, and none of its own."""
    settings.TENANT = "here"
    page = section(text_of("docs/sessions.md"), "## Subclass the engine")
    engine = example(blocks(page, "python")[0])["SessionStore"]
    assert dict(engine(live.session_key).items()) == {"color": "red"}
    live["tenant"] = "elsewhere"
    live.save()
    assert dict(engine(live.session_key).items()) == {}


def test_the_example_of_masking(visitor):
    """The first example of docs/masking.md works for every visitor."""
    code = blocks(text_of("docs/masking.md"), "python")[0]
    visitor["password"] = "hush"
    names = example(code, request=requested_with(visitor))
    assert names["mask"]("form", names["form"])["password"] != "hush"
    assert "hush" not in names["masked_json"]("form", names["form"])


def test_the_example_of_an_outage(live, settings, tmp_path):
    """The view answers in JSON, while Redis is there and while it is away."""
    (code,) = blocks(text_of("docs/outages.md"), "python")
    view = example(code)["visits"]
    assert view(requested_with(live)).content == b'{"visits": 0}'
    server = Server(tmp_path)
    server.stop()
    settings.SESSION_REDIS = {"LOCATION": server.url}
    answer = view(requested_with(SessionStore(live.session_key)))
    assert answer.status_code == 503
    with pytest.raises(SessionStoreUnavailable):
        SessionStore(live.session_key).get("visits")


def test_the_registry(live):
    """Each line of its example works, in the order in which they stand."""
    live["_auth_user_id"] = "1"
    live.save()
    other = SessionStore()
    other["_auth_user_id"] = "1"
    other.save()
    code, signal = blocks(section(text_of("docs/who-is-signed-in.md"), "## In your code"), "python")
    receiver = example(signal)["tell_the_user"]  # kept: Django holds receivers weakly
    example(code, user="1", request=requested_with(live), session_id="0123456789abcdef" * 2)
    assert [found.id for found in registry.of_user("1")] == [session_id(live.session_key)]
    assert receiver(session_id="", user_pk=None, reason="ended") is None


def test_each_function_of_the_registry_has_a_twin():
    """As the docs say, of those in the example and of all others."""
    plain = {name for name in registry.__all__ if f"a{name}" in registry.__all__}
    code, _ = blocks(section(text_of("docs/who-is-signed-in.md"), "## In your code"), "python")
    assert set(re.findall(r"registry\.(\w+)\(", code)) <= plain


def test_the_addresses_of_the_api():
    """Those that the docs ask with curl lead to views."""
    page = text_of("docs/who-is-signed-in.md") + text_of("docs/demo.md")
    paths = set(re.findall(r"(?:\$site|http://127\.0\.0\.1:8000)(/[\w/]*)", page))
    assert paths >= {"/api/sessions/", "/api/sessions/ID", "/api/user/noah", "/admin/login/"}
    for path in paths:
        resolve(path, urlconf="config.urls")


# In Redis


def test_metadata_fields_are_listed():
    """Each field that is not an entry is in the table of the docs."""
    listed = {name for name, _ in rows(section(REDIS, "## Keys"))}
    assert {f"`{name.decode()}`" for name in entries.METADATA} <= listed


def test_the_example_of_an_id(live, prefix):
    """It finds the id of a session by its key."""
    code = blocks(section(REDIS, "## Keys"), "python")[0]
    written = code.replace("the value of the cookie", live.session_key)
    assert (
        f"{prefix}:{eval(written.splitlines()[-1], example(written))}" == live.inspect().redis_key
    )


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


# How it is built


def test_round_trip_table():
    """It is the table that the tests count."""
    documented = dict(rows(section(DESIGN, "## Round trips")))
    assert documented == {name: str(trips) for name, (_, _, trips) in OPERATIONS.items()}


def test_each_promise_has_tests():
    """The table has a row for each promise, and each row leads to tests."""
    promises = section(DESIGN, "## Promises")
    numbers = re.findall(r"^(\d+)\. \*\*", promises, re.MULTILINE)
    assert [number for number, _ in rows(promises)] == numbers
    assert all(links(tests) for _, tests in rows(promises))


def test_the_house_has_what_is_there():
    """Each package is in its table, and each module that it names is there."""
    table = cells(section(CONTRIBUTING, "## The house"))
    named = {
        name.rstrip("/") for row in table for cell in row for name in re.findall("`([^`]+)`", cell)
    }
    packages = {path.parent.name for path in PACKAGE.rglob("*.py")} - {"migrations", "commands"}
    assert packages - {PACKAGE.name, "management"} <= named
    modules = {path.stem for path in PACKAGE.rglob("*.py")} | packages | {"management/commands"}
    assert named - modules == {"SessionStore", "LOCATION", "ADMINS"}


# From the bottom of the drawing to its top. A module uses those of its own floor and below.
FLOORS = (
    {
        "storage",
        "exceptions",
        "logs",
        "mails",
        "clusters",
        "locations",
        "sealing",
        "services",
        "site_keys",
        "signals",
        "reasons",
        "clock",
        "sizes",
    },
    {
        "conf",
        "problems",
        "next_engines",
        "user_agents",
        "key_prefixes",
        "tenants",
        "serializer_probes",
        "json_serializer",
        "typed_json",
        "encryption",
        "serializers",
        "masking",
    },
    {"clients"},
    {"registry", "testing_runs", "testing_leftovers"},
    {
        "ages",
        "expiry",
        "lifetimes",
        "engine",
        "policies",
        "capping",
        "base",
        "binding",
        "calls",
        "creation",
        "expiring",
        "former",
        "handover",
        "keys",
        "locks",
        "scope",
        "moving_all",
        "moving_in",
        "moving_out",
        "notices",
        "sharing",
        "unknown_keys",
        "updates",
    },
    {"web", "stand_ins", "models", "requests", "account_changes"},
    {"middleware", "admin", "checks", "apps", "urls", "management", "test"},
)


def test_the_arrows_of_the_house():
    """No module imports from a floor above its own, except for types and while tests run."""
    floor_of = {name: floor for floor, names in enumerate(FLOORS) for name in names}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).with_suffix("").parts[0]
        for imported in imports_of(path):
            assert floor_of.get(imported, 0) <= floor_of.get(name, len(FLOORS)), path


def imports_of(path):
    """The packages and modules of ours that a module imports when it is imported itself."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module == "sessions_redis":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module.startswith("sessions_redis."):
            yield node.module.split(".")[1]


def test_the_exceptions_are_explained():
    """The page about outages has each exception of the package."""
    page = text_of("docs/outages.md")
    own = [
        name
        for name, kind in vars(exceptions).items()
        if inspect.isclass(kind) and kind.__module__ == exceptions.__name__
    ]
    assert own
    assert [name for name in own if f"`{name}`" not in page] == []
