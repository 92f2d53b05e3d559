"""The imports of the package's modules, and the form of its scripts."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sessions_redis
from sessions_redis.storage import scripts

PACKAGE = Path(sessions_redis.__file__).parent
LUA = sorted((PACKAGE / "storage" / "scripts").glob("*.lua"))

# These are put in front of other scripts, so they have no KEYS, ARGV and result of their own.
SHARED = {
    *("calls", "forget", "gone", "list", "margins", "markers", "moved", "ranks", "relist"),
    *("allowed", "announce", "cap", "expiring", "field_ttls", "lifetimes", "rules", "user"),
    "write",
    *("delete_listed", "renew"),  # the first parts of delete.lua and save.lua
}

# Modules without I/O, settings and clock must not import these, nor other modules of this package
# except each other.
PURE = sorted((PACKAGE / "storage").rglob("*.py"))
IMPURE = {"asyncio", "datetime", "django", "logging", "os", "random", "redis", "socket", "time"}

# A site that has the engine, but not the app.
SITE = """
import sys
from django.conf import settings

settings.configure(
    SESSION_ENGINE="sessions_redis.engine",
    SESSION_REDIS={"LOCATION": "memory://"},
    INSTALLED_APPS=[],
)
"""

IMPORTS = """
import sessions_redis.engine

models = [name for name in sys.modules if name.endswith(".models") or ".models." in name]
assert models == [], models
"""

USES = """
import django

django.setup()
from sessions_redis.engine import SessionStore

session = SessionStore()
session["color"] = "red"
session.save()
assert SessionStore(session.session_key)["color"] == "red"
session.flush()
assert not session.exists(session.session_key)
"""


@pytest.mark.parametrize("program", [IMPORTS, USES], ids=["imported", "used"])
def test_the_engine_without_the_app(program):
    """The engine imports no models, and works in a site that has not installed the app."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SITE + program],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def imported_by(path):
    """The full names of the modules that are imported anywhere in a file."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def root(name):
    return name.partition(".")[0]


def test_redis_is_spoken_in_one_place():
    """Only the modules in clients/ import redis."""
    modules = PACKAGE.rglob("*.py")
    speakers = {
        path.relative_to(PACKAGE).parts[0]
        for path in modules
        if "redis" in map(root, imported_by(path))
    }
    assert speakers == {"clients"}


@pytest.mark.parametrize("path", PURE, ids=lambda path: path.stem)
def test_a_pure_module(path):
    """The modules that describe the data in Redis use no I/O, settings or clock."""
    names = imported_by(path)
    assert not set(map(root, names)) & IMPURE
    ours = {name for name in names if root(name) == "sessions_redis"}
    assert all(name.startswith("sessions_redis.storage") for name in ours)


# Across slots, another part comes before it, which refuses sessions that are being cycled.
# In one slot and across slots, and increment.lua with rules or without.
TIMES = {"increment": 4, "lock": 2, "unlock": 2}


@pytest.mark.parametrize("path", LUA, ids=lambda path: path.stem)
def test_a_script_begins_with_its_arguments(path):
    """A script begins with what it does, its KEYS, its ARGV and what it returns, in that order."""
    text = path.read_text()
    header = re.match(r"(-- .+\n)+\n", text)
    assert header is not None
    assert re.match(r"-- [A-Z]", text)
    if path.stem in SHARED:
        return
    words = re.findall(r"^-- (KEYS|ARGV|Returns)\b", header[0], re.MULTILINE)
    takes = ["KEYS", "ARGV"] if "ARGV" in text[header.end() :] or "write(" in text else ["KEYS"]
    assert words == [*takes, "Returns"]


def test_every_script_is_sent():
    """Each script file is sent, or is part of one that is sent."""
    texts = [value.text for value in vars(scripts).values() if isinstance(value, scripts.Script)]
    for path in LUA:
        assert any(path.read_text() in text for text in texts), path.name
        times = TIMES.get(path.stem, path.stem not in SHARED)
        assert sum(text.endswith(path.read_text()) for text in texts) == times


def test_a_script_defines_the_functions_it_calls():
    """A shared part is put in front of a script once."""
    for value in vars(scripts).values():
        if isinstance(value, scripts.Script):
            names = re.findall(r"^local function (\w+)", value.text, re.MULTILINE)
            assert len(names) == len(set(names))


def test_the_package_is_typed():
    """Type checkers use the package's own types."""
    assert (PACKAGE / "py.typed").read_text() == ""


def test_without_modules_of_unix():
    """
    Without fcntl, the engine works, and the error of embedded:// says to set another location.
    """
    program = """
import sys
sys.modules["fcntl"] = None
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
settings.configure(SESSION_REDIS={"LOCATION": "memory://"})
from sessions_redis.engine import SessionStore
SessionStore().create()
from django.test import override_settings
override_settings(SESSION_REDIS={"LOCATION": "embedded:///directory"}).enable()
try:
    SessionStore().create()
except ImproperlyConfigured as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert "Linux and macOS only" in done.stdout
    assert 'Set SESSION_REDIS["LOCATION"] to the URL of a Redis server' in done.stdout
