"""Django's file engine."""

import errno
import os
import shutil
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.contrib.sessions.backends.file import SessionStore
from django.utils import timezone

from sessions_redis import former
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.keys import Key
from tests.former.hostile import HOSTILE

ENGINE = "django.contrib.sessions.backends.file"
LONG_AGO = time.time() - 10**9


@pytest.fixture(autouse=True)
def directory(settings, tmp_path, monkeypatch):
    settings.SESSION_FILE_PATH = str(tmp_path / "sessions")
    (tmp_path / "sessions").mkdir()
    monkeypatch.delattr(SessionStore, "_storage_path", raising=False)
    yield tmp_path / "sessions"
    vars(SessionStore).get("_storage_path") and delattr(SessionStore, "_storage_path")


@pytest.fixture
def store():
    return former.of(ENGINE)


def written(**entries):
    session = SessionStore()
    session.create()
    session.update(entries)
    session.save()
    return Key(session.session_key)


def file_of(directory, key):
    return directory / f"sessionid{key.session_key}"


def test_a_session_of_the_engine(store, call, settings):
    """A session comes with its entries and its remaining lifetime."""
    found = call(store, "load", written(color="red"))
    assert found.entries == {"color": "red"}
    age = settings.SESSION_COOKIE_AGE
    assert age - 100 < found.ttl <= age


def test_the_lifetime_that_the_session_says(store, settings):
    """An entry of the session says how long it lives, as Django computes it."""
    found = store.load(written(_session_expiry=300))
    assert found.ttl == 300
    assert found.is_exact is False
    until = (timezone.now() + timedelta(seconds=500)).isoformat()
    found = store.load(written(_session_expiry=until))
    assert 400 < found.ttl <= 500
    assert found.is_exact is True


def test_no_such_session(store, call, key):
    """An unknown key is absent."""
    assert call(store, "load", key) is None


def test_create(store, call, key, directory):
    """A created session has exactly its lifetime, and the engine finds it."""
    assert call(store, "create", key, {"color": "red"}, 77.5) is True
    assert 0 < store.load(key).ttl <= 77.5
    assert SessionStore(key.session_key)["color"] == "red"
    assert call(store, "create", key, {"color": "blue"}, 60) is False
    assert SessionStore(key.session_key)["color"] == "red"
    assert len(list(directory.iterdir())) == 1


def test_many_create_the_same_session(store, key, directory):
    """Of threads that create the same session at once, one does, and none reads half of it."""

    def create(number):
        created = store.create(key, {"number": number}, 50)
        return created, SessionStore(key.session_key).get("number")

    with ThreadPoolExecutor(8) as threads:
        done = list(threads.map(create, range(40)))
    winners = [number for number, (created, _) in enumerate(done) if created]
    assert len(winners) == 1
    assert {number for _, number in done} == set(winners)
    assert len(list(directory.iterdir())) == 1


def test_a_file_system_without_links(store, key, directory, monkeypatch):
    """Some file systems have no hard links. A session is created there as the engine does it."""

    def refuse(source, target):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM), source, None, target)

    monkeypatch.setattr(os, "link", refuse)
    assert store.create(key, {"color": "red"}, 50) is True
    assert store.create(key, {"color": "blue"}, 50) is False
    assert store.load(key).entries == {"color": "red"}
    assert len(list(directory.iterdir())) == 1


def test_a_full_disk(store, key, directory, monkeypatch):
    """An error of the file system is an outage, and the key is in no part of it."""

    def refuse(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), source, None, target)

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(SessionStoreUnavailable, match="No space") as caught:
        store.create(key, {"color": "red"}, 50)
    assert key.session_key not in "".join(traceback.format_exception(caught.value))
    assert list(directory.iterdir()) == []


def test_save(store, call, directory):
    """Saving replaces entries and lifetime."""
    key = written(color="red")
    assert call(store, "save", key, {"size": 1}, 50) is True
    found = store.load(key)
    assert found.entries == {"size": 1}
    assert 0 < found.ttl <= 50
    assert dict(SessionStore(key.session_key).items()) == {"size": 1}
    assert len(list(directory.iterdir())) == 1


def test_saving_never_creates(store, call, key, directory):
    """Saving an unknown session writes nothing."""
    assert call(store, "save", key, {"size": 1}, 50) is False
    assert list(directory.iterdir()) == []


def test_delete(store, call, directory):
    """A deleted session is gone. Deleting it again is silent."""
    key = written(color="red")
    call(store, "delete", key)
    assert store.load(key) is None
    call(store, "delete", key)
    assert list(directory.iterdir()) == []


def test_an_expired_session(store, directory, settings):
    """An expired session is absent, cannot be saved, and its key is free."""
    key = written(color="red")
    os.utime(file_of(directory, key), (LONG_AGO, LONG_AGO))
    assert store.load(key) is None
    assert store.save(key, {"size": 1}, 50) is False
    assert [found.problem for found in next(store.batches(10))] == ["expired"]
    assert store.create(key, {"size": 1}, 50) is True
    assert store.load(key).entries == {"size": 1}


@pytest.mark.parametrize("content", [b"", b"damaged", b"\xff\xfe", b"e30:1:x"])
def test_a_damaged_session(store, directory, key, content):
    """A file that does not decode is no session, and its key stays taken."""
    file_of(directory, key).write_bytes(content)
    assert store.load(key) is None
    assert [found.problem for found in next(store.batches(10))] == ["not decodable"]
    assert store.create(key, {"size": 1}, 50) is False


def test_a_file_beside_it(store, directory, call):
    """A key never leads out of the directory, or to a file that is no session's."""
    (directory / "sessionid").mkdir()
    (directory.parent / "secret_file").write_text(SessionStore().encode({"a": 1}))
    for text in ("/../../secret_file", "../secret_file", "..\\secret_file", "a" * 10_000, "ü" * 10):
        key = Key(text)
        assert call(store, "load", key) is None
        assert call(store, "create", key, {}, 10) is False
        assert call(store, "save", key, {}, 10) is False
        call(store, "delete", key)
    assert sorted(path.name for path in directory.parent.iterdir()) == ["secret_file", "sessions"]


def test_no_key_from_outside_raises(store, call):
    """A key may be any text. What no engine gives out is absent, and cannot be written."""
    for text in HOSTILE:
        key = Key(text)
        assert call(store, "load", key) is None
        assert call(store, "create", key, {"size": 1}, 50) is False
        assert call(store, "save", key, {"size": 1}, 50) is False
        call(store, "delete", key)
        store.delete_many([key])


def test_all_sessions(store, directory):
    """A list has every session, and nothing else in the directory."""
    keys = {written(number=number).id: number for number in range(7)}
    (directory / "sessionid_out_abcdefgh").write_text("being written")
    (directory / "other").write_text("something else")
    batches = list(store.batches(3))
    assert [len(batch) for batch in batches] == [3, 3, 1]
    found = {one.key.id: one.session.entries["number"] for batch in batches for one in batch}
    assert found == keys
    assert store.count() == 7
    store.delete_many([one.key for batch in batches for one in batch])
    assert store.count() == 0


def test_the_directory_is_gone(store, directory, call):
    """A file that is missing together with its directory is an outage."""
    key = written(color="red")
    shutil.rmtree(directory)
    for method, arguments in (
        ("load", ()),
        ("create", ({}, 10)),
        ("save", ({}, 10)),
        ("delete", ()),
    ):
        with pytest.raises(SessionStoreUnavailable, match=ENGINE) as caught:
            call(store, method, key, *arguments)
        assert key.session_key not in str(caught.value)


def test_the_directory_was_never_there(store, directory, key):
    """A directory that the engine has never found is an outage too."""
    directory.rmdir()
    with pytest.raises(SessionStoreUnavailable, match="doesn't exist"):
        store.load(key)
    with pytest.raises(SessionStoreUnavailable, match="doesn't exist"):
        next(store.batches(10))


def test_a_file_that_cannot_be_read(store, directory, key):
    """An error of the file system is an outage, whose text has no session key in it."""
    file_of(directory, key).mkdir()
    with pytest.raises(SessionStoreUnavailable, match="directory") as caught:
        store.load(key)
    assert key.session_key not in str(caught.value)
    assert key.session_key not in str(caught.value.__cause__)


def test_nothing_is_left_of_a_session_that_cannot_be_written(store, directory, key):
    """A value that the serializer refuses raises before anything is written."""
    with pytest.raises(TypeError):
        store.create(key, {"value": object()}, 10)
    assert list(directory.iterdir()) == []


def test_a_listing_that_is_left_while_something_else_fails(store, directory):
    """A listing that is closed takes no error of others for an outage of its own store."""
    written(number=1)
    batches = store.batches(1)
    assert len(next(batches)) == 1
    try:
        (directory / "missing").read_text()
    except FileNotFoundError:
        batches.close()
