"""The command that moves all sessions of a former engine at once."""

import io
import re

import pytest
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command

from sessions_redis import former, registry
from sessions_redis.management import progress
from sessions_redis.storage.commands import session_id
from tests.servers import free_port
from tests.test_commands_management import run
from tests.test_moving_all import (  # noqa: F401 - fixtures
    CACHED,
    FORMER,
    CachedSessions,
    create,
    keys_there,
    moves_in,
    pickled,
)

pytestmark = pytest.mark.django_db(transaction=True)

COMMAND = "migratesessions"


def without_time(said):
    return re.sub(r"That took [\d.]+ seconds\.\n", "", said)


def test_all_move():
    """All sessions move, and the output has their number."""
    for _ in range(3):
        create(color="red")
    assert without_time(run(COMMAND, "--from", FORMER)) == "           3 moved\n"
    assert (registry.count(), keys_there()) == (3, set())
    assert without_time(run(COMMAND)) == "           0 moved\n"


def test_says_nothing():
    """With --verbosity 0, it works in silence."""
    create()
    assert run(COMMAND, verbosity=0) == ""
    assert registry.count() == 1


def test_what_did_not_move(settings):
    """Damaged sessions are named by their IDs, never by their keys. Expired ones are counted."""
    create()
    create(-5)
    damaged = create()
    Session.objects.filter(pk=damaged).update(session_data="garbage")
    said = run(COMMAND, "--batch", "2", "--rate", "1000")
    assert without_time(said) == (
        "           1 moved\n"
        "           1 expired. They stay where they are.\n"
        "           1 not decodable. They stay where they are.\n"
        f"             {session_id(damaged)}\n"
    )
    assert damaged not in said


def test_many_ids():
    """If many sessions are damaged, the first twenty are named."""
    for _ in range(22):
        create()
    Session.objects.update(session_data="garbage")
    said = run(COMMAND)
    assert len(re.findall(r"\b[0-9a-f]{32}\b", said)) == 20
    assert "and 2 more" in said


@pytest.mark.parametrize("moves_partly", [True, False])
def test_entries_that_cannot_be_written(settings, pickled, moves_partly):  # noqa: F811
    """Entries that SESSION_SERIALIZER cannot write are named, with their type."""
    settings.SESSION_REDIS = {**settings.SESSION_REDIS, "FORMER_ENGINE_PARTIAL": moves_partly}
    said = without_time(run(COMMAND))
    assert said.endswith(
        f"             {session_id(pickled)}\n"
        "Entries that SESSION_SERIALIZER cannot write, and in how many sessions:\n"
        "    'fruits' (set): 1\n"
    )
    words = "1 moved without some entries" if moves_partly else "1 not moved. SESSION_SERIALIZER"
    assert words in said
    assert CachedSessions().exists(pickled) is not moves_partly


def test_a_dry_run(contents):
    """It says what would move, and writes nothing."""
    create()
    before = contents()
    assert run(COMMAND, "--dry-run").startswith("           1 can move\n")
    assert (contents(), len(keys_there())) == (before, 1)


# Afterwards


def test_a_check():
    """It counts what the former engine still has, and compares a sample of what has moved."""
    create(color="red")
    run(COMMAND)
    create(-5)
    assert run(COMMAND, "--check") == (
        f"Still in {FORMER}:\n"
        "           0 can move\n"
        "           1 expired. They stay where they are.\n\n"
        "A sample of 1 that have moved:\n"
        "           1 as they were\n"
    )


def test_a_check_finds_a_difference(raw, prefix):
    """A session that differs is named, and the command fails."""
    key = create(color="red")
    run(COMMAND)
    raw.hset(f"{prefix}:{session_id(key)}", "color", '"blue"')
    out = io.StringIO()
    with pytest.raises(CommandError, match="The check found 1 wrong"):
        call_command(COMMAND, "--check", stdout=out)
    assert f"1 WRONG: other entries, or another user\n             {session_id(key)}\n" in (
        out.getvalue()
    )


def test_a_check_without_a_sample():
    """If nothing has moved, it says that there is nothing to compare."""
    assert "No sample to compare" in run(COMMAND, "--check")


# Mistakes, and what goes wrong


def message(*arguments):
    with pytest.raises(CommandError) as raised:
        run(COMMAND, *arguments)
    return str(raised.value)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("shop.nowhere", "'shop.nowhere' is not the module of a session engine"),
        ("django.contrib.sessions.backends.signed_cookies", "in the visitors' cookies"),
        ("sessions_redis.engine", "is this engine itself"),
    ],
)
def test_an_engine_whose_sessions_cannot_move(path, words):
    """It says why, and which engine to name."""
    said = message("--from", path)
    assert words in said
    assert "Name the module that SESSION_ENGINE was set to" in said


def test_no_engine(settings, session_redis):
    """Without --from and FORMER_ENGINE, it asks for one."""
    settings.SESSION_REDIS = session_redis
    assert message().startswith("Name the former engine, for example --from django.")


def test_the_site_still_has_the_former_engine(settings):
    """It refuses to move the sessions away from a site that does not look for them in Redis."""
    settings.SESSION_ENGINE = FORMER
    key = create()
    assert f"SESSION_ENGINE is still '{FORMER}'" in message("--from", FORMER)
    assert keys_there() == {key}


@pytest.mark.parametrize(
    ("configured", "words"),
    [
        ({}, "is not set"),
        ({"FORMER_ENGINE": "django.contrib.sessions.backends.cached_db"}, "cached_db'"),
    ],
)
def test_another_former_engine(settings, session_redis, configured, words):
    """If the site itself does not look there, a warning says what that means to visitors."""
    settings.SESSION_REDIS = {**session_redis, **configured}
    create()
    errors = io.StringIO()
    said = run(COMMAND, "--from", FORMER, stderr=errors)
    assert without_time(said) == "           1 moved\n"
    assert f"Warning: SESSION_REDIS['FORMER_ENGINE'] {'is' if configured else words}" in (
        errors.getvalue()
    )
    assert words in errors.getvalue()


@pytest.mark.parametrize("option", ["--batch", "--rate"])
@pytest.mark.parametrize("number", ["0", "-1", "many"])
def test_numbers(option, number):
    """A number below 1 is refused."""
    assert "is not a number from 1 on" in message(option, number)


def test_redis_is_away(settings):
    """The message says that nothing was lost, and to run the command again."""
    create()
    location = f"redis://127.0.0.1:{free_port()}"
    settings.SESSION_REDIS = {**settings.SESSION_REDIS, "LOCATION": location}
    said = message()
    assert "No session was lost. Run the command again" in said
    assert "           0 moved\n" in said
    assert "Nothing was written. So far:\n           0 can move" in message("--dry-run")


def test_the_former_engine_is_away(settings):
    """The message names the former engine."""
    location = f"redis://127.0.0.1:{free_port()}"
    cache = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": location}
    settings.CACHES = {"default": cache}
    settings.SESSION_REDIS = {**settings.SESSION_REDIS, "FORMER_ENGINE": CACHED}
    said = message()
    assert CACHED in said
    assert "Run the command again" in said


def test_is_interrupted(monkeypatch):
    """After Ctrl-C, it says what has moved so far and how to go on, and then it goes on."""
    for _ in range(4):
        create()
    store = former.of(FORMER)
    batches = store.batches

    def interrupted(size):
        found = batches(size)
        yield next(found)
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "batches", interrupted)
    with pytest.raises(CommandError) as raised:
        run(COMMAND, "--batch", "3")
    assert str(raised.value).startswith("Interrupted.\nSo far:\n           3 moved\n")
    assert raised.value.returncode == 130
    monkeypatch.undo()
    assert without_time(run(COMMAND)) == "           1 moved\n"


def test_a_cache_that_cannot_list_its_sessions(settings):
    """The message says that they can only move with the requests of their visitors."""
    cache = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    settings.CACHES = {"default": cache}
    assert "can only move with their visitors' requests" in message("--from", CACHED)


# Tenants


def test_a_tenant(settings, prefix, raw):
    """With --prefix, the sessions become those of one tenant."""
    settings.SESSION_REDIS = {
        **settings.SESSION_REDIS, "KEY_PREFIX": "tests.tenancy.key_prefix"
    }  # fmt: skip
    key = create(color="red")
    run(COMMAND, "--prefix", f"{prefix}:acme")
    assert raw.hget(f"{prefix}:acme:{session_id(key)}", "color") == b'"red"'


# Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar():
    """In a terminal, a bar shows how far it has come."""
    create()
    terminal = Terminal()
    call_command(COMMAND, stdout=terminal)
    assert "100%" in terminal.getvalue()
    assert "1.00/1.00" in terminal.getvalue()


@pytest.mark.parametrize("out", [io.StringIO, Terminal])
def test_lines(monkeypatch, out):
    """Without a terminal, or without tqdm, there is a line now and then."""
    for _ in range(3):
        create()
    monkeypatch.setattr(progress, "EVERY", 0)
    monkeypatch.setattr(progress, "find_spec", lambda name: None)
    into = out()
    call_command(COMMAND, "--batch", "2", stdout=into)
    first, second, *_ = into.getvalue().splitlines()
    assert re.fullmatch(r"2 of about 3 sessions, [\d,]+ per second, [\d min]+ s left", first)
    assert re.fullmatch(r"3 of about 3 sessions, [\d,]+ per second", second)


def test_lines_without_a_total(monkeypatch):
    """If the former engine cannot count its sessions, the lines have no end."""
    monkeypatch.setattr(type(former.of(FORMER)), "_count", lambda self: None)
    monkeypatch.setattr(progress, "EVERY", 0)
    create()
    assert re.match(r"1 sessions, [\d,]+ per second\n", run(COMMAND))


def test_durations():
    """Times are in minutes and seconds."""
    assert progress._duration(59.4) == "59 s"
    assert progress._duration(61) == "1 min 1 s"
