"""Tests the admin's model, which has no table and makes no queries."""

import json
import os
import subprocess
import sys
from io import StringIO

import pytest
from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import NotSupportedError, connection

from sessions_redis import registry
from sessions_redis.models import Session
from tests.section import signed_in
from tests.site import ROOT


@pytest.mark.django_db
def test_migrate_makes_no_table():
    """After migrate there are the permissions, but no table."""
    assert Session._meta.db_table not in connection.introspection.table_names()
    codenames = Permission.objects.filter(content_type__app_label="sessions_redis")
    assert set(codenames.values_list("codename", flat=True)) == {
        "view_session",
        "delete_session",
        "view_session_entries",
    }


@pytest.mark.django_db
def test_the_migration_is_complete(settings):
    """makemigrations finds no changes, with any DEFAULT_AUTO_FIELD."""
    settings.DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
    call_command(
        "makemigrations", "sessions_redis", check=True, skip_checks=True, stdout=StringIO()
    )


@pytest.mark.django_db
def test_the_database_is_never_asked(live, django_assert_num_queries):
    """Queries through the model find no sessions and do not reach the database."""
    with django_assert_num_queries(0):
        assert list(Session.objects.all()) == []
        assert Session.objects.count() == 0
        assert not Session.objects.filter(user_pk="1").exists()
        with pytest.raises(Session.DoesNotExist):
            Session._base_manager.get(pk="0" * 32)


@pytest.mark.django_db
def test_dumpdata_leaves_sessions_out(live):
    """dumpdata of all models works, and contains no sessions."""
    dump = StringIO()
    call_command("dumpdata", exclude=["contenttypes", "auth"], stdout=dump)
    assert json.loads(dump.getvalue()) == []


@pytest.mark.parametrize("write", ["save", "delete"])
def test_sessions_are_not_written_through_the_model(live, write, django_assert_num_queries):
    """Saving or deleting raises an error that names the right function."""
    (session,) = map(Session.of, registry.latest())
    with pytest.raises(NotSupportedError, match=r"SessionStore|registry\.end"):
        getattr(session, write)()


@pytest.mark.django_db
def test_log_entries_find_nothing(live):
    """LogEntry.get_edited_object() makes no query either."""
    entry = LogEntry(
        content_type=ContentType.objects.get_for_model(Session),
        object_id="0" * 32,
        action_flag=DELETION,
    )
    with pytest.raises(Session.DoesNotExist):
        entry.get_edited_object()


def test_in_words():
    """The text of a session is the start of its ID and its user, as far as the viewer may see."""
    session, anonymous = (
        Session.of(registry.find(signed_in("4711"))),
        Session.of(registry.find(signed_in())),
    )
    assert str(anonymous) == f"{anonymous.pk[:8]} (anonymous)"
    assert str(session) == f"{session.pk[:8]} (signed in)"
    session.user_label = "ada"
    assert str(session) == f"{session.pk[:8]} (ada)"
    session.user_label = ""
    assert str(session) == session.pk[:8]


def run_alone(script):
    """Run a site with its own settings."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"},
        capture_output=True,
        text=True,
        check=False,
    )


WITH_DJANGOS_SESSIONS = """
from django.conf import settings
settings.configure(
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "sessions_redis",
    ],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
import django
django.setup()
from django.core.management import call_command
call_command("check")
call_command("migrate", verbosity=0)
from django.contrib.auth.models import Permission
print(*Permission.objects.all(), sep="\\n")
"""


def test_permissions_have_names_of_their_own():
    """Even with django.contrib.sessions installed, no two permissions have the same label."""
    done = run_alone(WITH_DJANGOS_SESSIONS)
    assert (done.returncode, done.stderr) == (0, "")
    names = done.stdout.splitlines()[1:]
    assert len(set(names)) == len(names)
    ours = {"Can view who is signed in", "Can end sessions", "Can view session entries"}
    assert {f"Sessions | session | {name}" for name in ours} <= set(names)


WITHOUT_ADMIN = """
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["sessions_redis"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
import django
django.setup()
from django.core.management import call_command
call_command("check")
call_command("migrate")
"""


def test_without_the_admin():
    """The app works on a site without the admin, and even without users."""
    done = run_alone(WITHOUT_ADMIN)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Applying sessions_redis.0001_initial... OK" in done.stdout
