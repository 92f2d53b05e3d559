"""Django's ``file`` engine."""

import errno
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path
from tempfile import mkstemp
from typing import Any

from django.contrib.sessions.exceptions import InvalidSessionKey
from django.core.exceptions import ImproperlyConfigured

from sessions_redis.former.decoding import decoded, session_by_itself
from sessions_redis.former.store import FormerSession, FormerStore, Found, found, seconds_until
from sessions_redis.keys import Key

LONGEST_NAME = 255

# What a file system answers that has no hard links.
WITHOUT_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS}


class FileStore(FormerStore):
    """
    A directory of sessions, whose time of change says how long each lives.

    A new session appears at once with its content. The file system cannot replace a file only if it
    exists: a session that another process deletes in the instant in which it is saved can come
    back, as with the engine itself.
    """

    def _load(self, key: Key) -> FormerSession | None:
        read = self._read(key)
        return None if read is None else read.session

    def _create(self, key: Key, session: FormerSession) -> bool:
        read = self._read(key)
        if read is not None and read.problem == "expired":
            self._delete(key)
        store = self._store(key)
        with _written(store, session) as file:
            return _is_placed(file, store)

    def _save(self, key: Key, session: FormerSession) -> bool:
        if self._load(key) is None:
            return False
        store = self._store(key)
        with _written(store, session) as file:
            os.replace(file, store._key_to_file())
        return True

    def _delete(self, key: Key) -> None:
        store = self._store(key)
        try:
            os.unlink(store._key_to_file())
        except FileNotFoundError:
            _require_directory(store)

    def _batches(self, size: int) -> Iterator[list[Found]]:
        with os.scandir(self._anonymous().storage_path) as entries:
            keys = filter(None, map(self._key_of, entries))
            while batch := list(islice(keys, size)):
                yield [one for key in batch if (one := self._read(key)) is not None]

    def _count(self) -> int:
        with os.scandir(self._anonymous().storage_path) as entries:
            return sum(1 for _ in filter(None, map(self._key_of, entries)))

    def _key_of(self, entry: Any) -> Key | None:
        prefix = self._anonymous().file_prefix
        if not entry.name.startswith(prefix):
            return None
        key = Key(entry.name.removeprefix(prefix))
        return key if self._may_hold(key) else None

    def _read(self, key: Key) -> Found | None:
        store = self._store(key)
        try:
            text = Path(store._key_to_file()).read_bytes().decode("ascii", "replace")
            # Another process may be creating a session whose file is still empty.
            entries = decoded(store, text) if text else None
            if entries is None:
                return Found(key, None, "not decodable")
            session = _session(store, entries)
        except FileNotFoundError:
            _require_directory(store)
            return None
        return found(key, session)

    def _may_hold(self, key: Key) -> bool:
        if not super()._may_hold(key):
            return False
        store = self._store(key)
        try:
            return len(os.fsencode(Path(store._key_to_file()).name)) <= LONGEST_NAME
        except InvalidSessionKey:
            return False

    def _store(self, key: Key) -> Any:
        with _a_directory():
            return super()._store(key)

    def _anonymous(self) -> Any:
        with _a_directory():
            return self.engine()


@contextmanager
def _a_directory() -> Iterator[None]:
    try:
        yield
    except ImproperlyConfigured as error:
        raise FileNotFoundError(errno.ENOENT, str(error)) from error


def _require_directory(store: Any) -> None:
    """A file that is missing with its whole directory is not an ended session."""
    if not Path(store.storage_path).is_dir():
        raise FileNotFoundError(errno.ENOENT, "The directory of the sessions is missing")


def _session(store: Any, entries: Mapping[str, Any]) -> FormerSession:
    until = store._expiry_date(entries)
    if isinstance(until, datetime):
        return FormerSession(entries, seconds_until(until))
    return session_by_itself(store, entries)


def _is_placed(file: str, store: Any) -> bool:
    """Give a written file the session's name, unless that is taken. Whether that was done."""
    try:
        try:
            os.link(file, store._key_to_file())
        except OSError as error:
            if error.errno not in WITHOUT_LINKS:
                raise
            # As the engine does it: for an instant, others find an empty file.
            os.close(os.open(store._key_to_file(), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            os.replace(file, store._key_to_file())
    except FileExistsError:
        return False
    return True


@contextmanager
def _written(store: Any, session: FormerSession) -> Iterator[str]:
    """The name of a new file with the session, which is gone afterwards."""
    content = store.encode(dict(session.entries)).encode()
    descriptor, name = mkstemp(dir=store.storage_path, prefix=f"{store.file_prefix}_out_")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        # The engine counts the lifetime from here, unless an entry of the session says otherwise.
        begun = time.time() + session.ttl - store.get_session_cookie_age()
        os.utime(name, (begun, begun))
        yield name
    finally:
        Path(name).unlink(missing_ok=True)
