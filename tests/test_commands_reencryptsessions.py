"""The command that encrypts entries anew, and keys that rotate while requests run."""

import io
import json

import pytest
from django.core.management import CommandError, call_command

from sessions_redis.encryption import MARK
from sessions_redis.registry import reencrypting
from sessions_redis.storage import sealing
from sessions_redis.storage.commands import session_id
from sessions_redis.storage.entries import SALT, is_metadata
from tests.servers import free_port, wait_until
from tests.test_commands_management import run
from tests.test_sealing import (  # noqa: F401 - fixtures
    ENCRYPTED,
    LATER,
    NEW,
    OLD,
    OPENING,
    PLAIN,
    encrypted,
    fields,
    held,
    plain,
    put,
    saved,
    turn_on,
)
from tests.workers import Worker

COMMAND = "reencryptsessions"


@pytest.fixture
def use(settings):
    """Changes SESSION_REDIS."""

    def change(**changed):
        settings.SESSION_REDIS = {**settings.SESSION_REDIS, **changed}

    return change


def test_a_key_is_rotated(use, fields, raw, prefix):  # noqa: F811
    """All entries are encrypted with the new key. Nothing else changes, also not the lifetime."""
    keys = [saved(color="red", size=n).session_key for n in range(3)]
    names = [f"{prefix}:{session_id(key)}" for key in keys]
    before = [(fields(key), raw.pexpiretime(name)) for key, name in zip(keys, names, strict=True)]
    use(ENCRYPTION_KEYS=[NEW, OLD])
    assert run(COMMAND, dry_run=True) == "3 sessions found. Entries left: 6. Nothing was written.\n"
    assert [fields(key) for key in keys] == [stored for stored, _ in before]
    assert run(COMMAND).startswith("3 sessions found. Entries written: 6. Entries left: 0. Run ")
    assert run(COMMAND).startswith("3 sessions found. Nothing is left")
    use(ENCRYPTION_KEYS=[NEW])
    assert [held(key) for key in keys] == [{"color": "red", "size": n} for n in range(3)]
    for key, name, (stored, expires) in zip(keys, names, before, strict=True):
        after = fields(key)
        assert raw.pexpiretime(name) == expires
        assert {n: v for n, v in after.items() if is_metadata(n)} == {
            n: v for n, v in stored.items() if is_metadata(n)
        }


def test_plain_entries_are_encrypted(plain, fields, monkeypatch):  # noqa: F811
    """A session that was not encrypted gets its salt. It takes several commands if it is large."""
    monkeypatch.setattr(sealing, "MOST_ENTRIES", 2)
    key = plain(**{f"n{n}": n for n in range(5)})
    assert "Entries written: 5. Entries left: 0." in run(COMMAND)
    stored = fields(key)
    assert SALT in stored
    assert all(value.startswith(MARK) for name, value in stored.items() if not is_metadata(name))
    assert held(key) == {f"n{n}": n for n in range(5)}


def test_turning_off(settings, fields):  # noqa: F811
    """With a serializer that only decrypts, the entries are plain in the end."""
    key = saved(color="red").session_key
    settings.SESSION_SERIALIZER = OPENING
    assert "Entries written: 1. Entries left: 0." in run(COMMAND)
    assert fields(key)[b"color"] == b'"red"'
    settings.SESSION_SERIALIZER = PLAIN
    assert held(key) == {"color": "red"}


def test_what_stays(use, put, fields, raw, prefix):  # noqa: F811
    """Damaged entries, and other keys under the prefix, stay as they are."""
    key = saved(color="red", size=7).session_key
    put(key, "color", MARK + b"damaged")
    before = fields(key)
    raw.set(f"{prefix}:{'0' * 32}", "text", ex=100)
    use(ENCRYPTION_KEYS=[NEW, OLD])
    assert "1 session found. Entries written: 1. Entries left: 1." in run(COMMAND)
    assert fields(key)[b"color"] == before[b"color"]
    assert held(key) == {"size": 7}
    raw.delete(f"{prefix}:{'0' * 32}")


@pytest.mark.parametrize("what", ["changed", "ended", "salted", "cycled"])
def test_what_requests_change_meanwhile(use, plain, raw, prefix, monkeypatch, what):  # noqa: F811
    """An entry that a request changes after the command has read it keeps the request's value."""
    key = plain(color="red")
    name = f"{prefix}:{session_id(key)}"
    ran = reencrypting.run_all

    def run_all(commands):
        found = ran(commands)
        if what == "changed":
            raw.hset(name, "color", b'"blue"')
        elif what == "ended":
            raw.delete(name)
        elif what == "salted":
            raw.hset(name, SALT, "of another request")
        else:
            raw.hset(name, "@frozen", 10**14)
        return found

    monkeypatch.setattr(reencrypting, "run_all", run_all)
    before = raw.hgetall(name)
    assert "Entries written: 0. Entries left: 1." in run(COMMAND)
    after = raw.hgetall(name)
    assert after.get(b"color") == {"changed": b'"blue"', "ended": None}.get(what, before[b"color"])


def test_another_serializer(settings):
    """With a serializer that neither encrypts nor decrypts, it says so."""
    settings.SESSION_SERIALIZER = PLAIN
    with pytest.raises(CommandError, match="neither encrypts nor decrypts"):
        call_command(COMMAND)


def test_redis_is_away(use):
    """The error says how far it has come."""
    use(LOCATION=f"redis://127.0.0.1:{free_port()}")
    with pytest.raises(CommandError, match=r"Entries written before that: 0\. Run"):
        call_command(COMMAND)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress(use):
    """In a terminal, it shows how far it has come. With --verbosity 0 it is silent."""
    saved(color="red")
    use(ENCRYPTION_KEYS=[NEW, OLD])
    out = Terminal()
    call_command(COMMAND, stdout=out)
    assert "\r100%  1 session\n1 session found. Entries written: 1." in out.getvalue()
    assert run(COMMAND, verbosity=0) == ""


SESSIONS, VISITS = 12, 6


def test_keys_rotate_under_load(settings, session_redis, plain, raw, prefix, monkeypatch):  # noqa: F811
    """
    Encryption is turned on and a key rotated while processes visit: nobody is signed out.

    The processes take over each step at a time of their own, as workers of a site do. They also
    race to give sessions their salt.
    """
    monkeypatch.setenv("WORKER_SESSION_SERIALIZER", ENCRYPTED)
    keys = [plain(_auth_user_id="7", color="red") for _ in range(SESSIONS)]
    phases, names = f"{prefix}-phases", ("one", "other")
    arguments = {"session_keys": keys, "phases": phases, "url": session_redis["LOCATION"]}

    def begin(**changed):
        phase = raw.rpush(phases, json.dumps({**settings.SESSION_REDIS, **changed}))
        if phase > 1:
            for name in names:
                visits = f"{phases}-{phase}-{name}"
                wait_until(lambda v=visits: int(raw.get(v) or 0) >= VISITS, "the visits", 60)

    def reencrypt(**changed):
        settings.SESSION_REDIS = {**settings.SESSION_REDIS, **changed}
        wait_until(lambda: "Nothing is left" in run(COMMAND), "nothing is left", 60)

    begin(ENCRYPTION_KEYS=[OLD], ENCRYPTION_PLAINTEXT_UNTIL=LATER)
    workers = [
        Worker(settings.SESSION_REDIS, "visit_through_phases", name=name, **arguments)
        for name in names
    ]
    try:
        for worker in workers:
            worker.wait_ready()
        for worker in workers:
            worker.begin()
        reencrypt(ENCRYPTION_KEYS=[OLD])
        begin(ENCRYPTION_KEYS=[OLD, NEW], ENCRYPTION_PLAINTEXT_UNTIL=None)
        begin(ENCRYPTION_KEYS=[NEW, OLD], ENCRYPTION_PLAINTEXT_UNTIL=None)
        reencrypt(ENCRYPTION_KEYS=[NEW, OLD])
        begin(ENCRYPTION_KEYS=[NEW], ENCRYPTION_PLAINTEXT_UNTIL=None)
        raw.rpush(phases, "end")
        results = [worker.result() for worker in workers]
    finally:
        for worker in workers:
            worker.end()
        raw.delete(*raw.keys(f"{phases}*"))
    print(results)
    assert all(result["visits"] >= 3 * VISITS for result in results)
    assert {result[kind] for result in results for kind in ("signed out", "lost")} == {0}
    settings.SESSION_REDIS = {**settings.SESSION_REDIS, "ENCRYPTION_KEYS": [NEW]}
    assert {held(key)["_auth_user_id"] for key in keys} == {"7"}
