"""
Objects that replace the request and its session while Django's ``process_response`` runs.

Django's method loads and saves the session itself, with blocking calls. With a stand-in it can run
where these calls must be awaited (under ASGI), or must not happen (after a failure).
"""

from typing import Any

from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.http import HttpRequest, HttpResponse


class DiscardedResponse(HttpResponse):
    """A response that is never sent, so it saves the time of formatting its cookies."""

    def set_cookie(self, *args: Any, **kwargs: Any) -> None:
        pass


def keeps_cookie(request: HttpRequest) -> bool:
    """Whether the cookie is that of a session which ``BIND_TO`` only keeps from this request."""
    session: Any = getattr(request, "session", None)
    return bool(getattr(session, "is_elsewhere", False) and session.is_empty())


class RequestStandIn:
    """
    A request with another object as its session.

    It has no cookies if `keeps_cookie`, so that Django does not delete that of the session.
    """

    def __init__(self, request: HttpRequest, session: Any) -> None:
        self._request = request
        self.session = session
        self.COOKIES = {} if keeps_cookie(request) else request.COOKIES

    def __getattr__(self, name: str) -> Any:
        return getattr(self._request, name)


class OfflineStandIn:
    """
    A session as the view left it, which never sends a command to Redis.

    It does not save. It returns the real lifetime only if `is_loaded`, because the lifetime is
    stored in the session.
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


class NewKeyStandIn(OfflineStandIn):
    """A session that got a new key, so its cookie must be set. Cycling the key has loaded it."""

    is_loaded = True

    def __init__(self, session: SessionBase) -> None:
        super().__init__(session)
        self.modified = True


class DeferredStandIn(OfflineStandIn):
    """
    A session that remembers whether Django wants to load or save it, for `load_and_save`.

    After `load_and_save` it returns the real lifetime. If saving raised ``UpdateError``, its
    ``save()`` raises that error.
    """

    def __init__(self, session: SessionBase) -> None:
        super().__init__(session)
        self._must_load = self._must_save = False
        self._update_error: UpdateError | None = None

    async def load_and_save(self) -> None:
        if self._must_load:
            await self._session._aget_session()  # type: ignore[attr-defined]
        if self._must_save:
            try:
                await self._session.asave()
            except UpdateError as error:
                self._update_error = error
        self.is_loaded = True

    def get_expire_at_browser_close(self) -> bool:
        self._must_load = True
        return super().get_expire_at_browser_close()

    def get_expiry_age(self) -> int:
        self._must_load = True
        return super().get_expiry_age()

    def save(self) -> None:
        self._must_load = self._must_save = True
        if self._update_error:
            raise self._update_error
