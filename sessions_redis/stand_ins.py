"""
What stands in for a session while Django's own code decides on its cookie.

That code saves and asks as it goes. These let it run where saving must be awaited, or must not be.
"""

from typing import Any

from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.http import HttpRequest, HttpResponse


class Rehearsal(HttpResponse):
    """A response that is thrown away: what is long to write is not written."""

    def set_cookie(self, *args: Any, **kwargs: Any) -> None:
        pass


class Request:
    """A request with another session."""

    def __init__(self, request: HttpRequest, session: Any) -> None:
        self._request = request
        self.session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._request, name)


class Session:
    """
    A session as the view left it. It writes nothing and asks nobody.

    It knows its lifetime only if `is_loaded`.
    """

    is_loaded = False

    def __init__(self, session: SessionBase) -> None:
        self._session = session
        self.accessed = session.accessed
        self.modified = session.modified
        self._is_empty = session.is_empty()

    @property
    def session_key(self) -> str | None:
        return self._session.session_key

    def is_empty(self) -> bool:
        return self._is_empty

    def get_expire_at_browser_close(self) -> bool:
        return self.is_loaded and self._session.get_expire_at_browser_close()

    def get_expiry_age(self) -> int:
        return self._session.get_expiry_age() if self.is_loaded else 0

    def save(self) -> None:
        pass


class MovedSession(Session):
    """A session that has a new key, which its cookie has to follow. To cycle, it was loaded."""

    is_loaded = True

    def __init__(self, session: SessionBase) -> None:
        super().__init__(session)
        self.modified = True


class AwaitedSession(Session):
    """Takes down what is asked of it, until `do_what_was_asked`; then it answers."""

    def __init__(self, session: SessionBase) -> None:
        super().__init__(session)
        self._is_asked = self._is_to_be_saved = False
        self._update_error: UpdateError | None = None

    async def do_what_was_asked(self) -> None:
        if self._is_asked:
            await self._session._aget_session()  # type: ignore[attr-defined]
        if self._is_to_be_saved:
            try:
                await self._session.asave()
            except UpdateError as error:
                self._update_error = error
        self.is_loaded = True

    def get_expire_at_browser_close(self) -> bool:
        self._is_asked = True
        return super().get_expire_at_browser_close()

    def get_expiry_age(self) -> int:
        self._is_asked = True
        return super().get_expiry_age()

    def save(self) -> None:
        self._is_asked = self._is_to_be_saved = True
        if self._update_error:
            raise self._update_error
