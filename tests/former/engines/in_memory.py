"""An engine of a site's own, in a dictionary."""

from typing import Any

from django.contrib.sessions.backends.base import CreateError, SessionBase, UpdateError

SESSIONS: dict[str, Any] = {}


class SessionStore(SessionBase):
    def load(self) -> Any:
        if self.session_key in SESSIONS:
            return self.decode(SESSIONS[self.session_key])
        self.create()
        return {}

    def exists(self, session_key: str) -> bool:
        return session_key in SESSIONS

    def create(self) -> None:
        self._session_key = self._get_new_session_key()
        self.save(must_create=True)

    def save(self, must_create: bool = False) -> None:
        if must_create and self.session_key in SESSIONS:
            raise CreateError
        entries = self._get_session(no_load=must_create)
        if entries.get("is refused"):
            raise UpdateError
        if entries.get("is away"):
            try:
                raise ConnectionError("not there")
            except OSError as error:
                raise (CreateError if must_create else UpdateError) from error
        SESSIONS[self.session_key] = self.encode(entries)

    def delete(self, session_key: str | None = None) -> None:
        SESSIONS.pop(session_key or self.session_key, None)
