"""The command ``clearsessions``, which is Django's with a tenant."""

import subprocess
import sys
import time
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command, load_command_class

from sessions_redis.storage.keyspaces import Keyspace
from tests.servers import free_port
from tests.tenancy import inside
from tests.test_registry import put_in_index

ROOT = Path(__file__).parent.parent
EXPIRED = "e" * 32


def run(*arguments):
    """Runs our command, whichever Django would choose. Returns its output."""
    out = StringIO()
    call_command(load_command_class("sessions_redis", "clearsessions"), *arguments, stdout=out)
    return out.getvalue()


@pytest.fixture
def members(raw):
    """The number of members in the index under a prefix."""
    return lambda prefix: raw.zcard(Keyspace(prefix).index)


@pytest.fixture
def tenants(settings, session_redis, raw, prefix):
    """Two tenants with an expired member each."""
    settings.SESSION_REDIS = {**session_redis, "KEY_PREFIX": "tests.tenancy.key_prefix"}
    names = [f"{prefix}:acme", f"{prefix}:bravo"]
    for name in names:
        put_in_index(raw, Keyspace(name).index, [EXPIRED], time.time() - 10_000)
    return names


def test_a_site_without_tenants(raw, members, prefix):
    """It removes expired members of the indexes, and prints nothing, as Django's command does."""
    put_in_index(raw, Keyspace(prefix).index, [EXPIRED], time.time() - 10_000)
    assert run() == ""
    assert members(prefix) == 0


def test_a_tenant_by_its_prefix(members, tenants):
    """The command cleans the indexes of that tenant only."""
    acme, bravo = tenants
    assert run("--prefix", acme) == ""
    assert (members(acme), members(bravo)) == (0, 1)


def test_the_current_tenant(members, tenants):
    """Without ``--prefix``, it is the current tenant. If there is none, the error names it."""
    acme, bravo = tenants
    with inside(bravo):
        run()
    assert (members(acme), members(bravo)) == (1, 0)
    with pytest.raises(CommandError, match="Name the key prefix of a tenant with --prefix"):
        run()
    with pytest.raises(CommandError, match="prefix"):
        run("--prefix", "")


def test_a_site_with_one_prefix():
    """Such a site has no tenants, so the command refuses ``--prefix``."""
    with pytest.raises(CommandError, match="No tenant can be chosen"):
        run("--prefix", "acme")


def test_redis_is_away(settings, session_redis):
    """A failure is an error message, not a traceback."""
    settings.SESSION_REDIS = {**session_redis, "LOCATION": f"redis://127.0.0.1:{free_port()}"}
    with pytest.raises(CommandError, match="Is it running"):
        run()


@pytest.mark.django_db
def test_another_engine(settings):
    """Django's command runs, even without our setting. It has no tenants, so no ``--prefix``."""
    del settings.SESSION_REDIS
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    assert run() == ""
    with pytest.raises(CommandError, match="Leave --prefix out"):
        run("--prefix", "acme")
    settings.SESSION_ENGINE = f"{__name__}"
    with pytest.raises(CommandError, match="doesn't support clearing expired sessions"):
        run()


class SessionStore:
    """An engine that cannot clear sessions."""

    @classmethod
    def clear_expired(cls):
        raise NotImplementedError


WHICH = """
import sys
from django.conf import settings
settings.configure(INSTALLED_APPS=sys.argv[1].split())
import django
django.setup()
from django.core.management import get_commands
print(get_commands()["clearsessions"])
"""


@pytest.mark.parametrize(
    ("apps", "runs"),
    [
        ("sessions_redis django.contrib.sessions", "sessions_redis"),
        ("django.contrib.sessions sessions_redis", "django.contrib.sessions"),
        ("sessions_redis", "sessions_redis"),
    ],
)
def test_which_command_django_runs(apps, runs):
    """Django runs the command of the first app in ``INSTALLED_APPS``, as the docs say."""
    apps = f"django.contrib.contenttypes {apps}"
    done = subprocess.run(
        [sys.executable, "-c", WHICH, apps],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.split() == [runs]
