"""
The session middleware: Django's own, without threads under ASGI.

It also saves the visitor's IP address and user agent, and answers 503 while Redis is away.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.sessions import middleware
from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.core.handlers.exception import (
    convert_exception_to_response,
    response_for_exception,
)
from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers

from sessions_redis import binding, logs, stand_ins
from sessions_redis.clients.outages import last_failure
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionLimitReached, SessionStoreUnavailable
from sessions_redis.web import current
from sessions_redis.web import unavailable as outage
from sessions_redis.web.unavailable import unavailable
from sessions_redis.web.visitors import Visitor

log = logs.named("sessions_redis")


class SessionMiddleware(middleware.SessionMiddleware):
    """
    Replaces ``django.contrib.sessions.middleware.SessionMiddleware``.

    Under ASGI, it runs in no thread: it saves a changed session with ``asave()``. Django's own code
    decides whether to save the session and to set, delete or keep its cookie, under WSGI and ASGI.
    A subclass may override Django's methods with synchronous code. Under ASGI, each method that it
    overrides runs in a thread, as the methods of Django's middleware do.

    It keeps the visitor's IP address and user agent in the metadata fields ``@ip`` and ``@agent``.
    The save at the end of a request writes them. If the session was only read, the middleware
    writes them with a note that the session is in use: the field ``@seen`` says when. It does so at
    most once in ``ACTIVITY_INTERVAL`` seconds, a minute by default. A note takes one round trip and
    does not extend the session's lifetime. It also lists the session again if Redis has lost an
    index. With ``METADATA: False`` the middleware
    keeps neither address nor user agent, and the next save of a session removes them.

    While Redis is away or refuses commands, it answers 503 with the header ``Retry-After`` and
    leaves the visitor's cookie as it is. This covers views, templates, and middleware that come
    after this one, and any session store that they use. The 503 is JSON if the view returned JSON.
    Otherwise it is the site's template ``503.html``, or in the admin ``admin/503.html``, which this
    package contains.

    With ``BIND_TO``, a session that is used from another network or device is kept from the
    request, as if the cookie were unknown, but the cookie stays.

    If the session got a new key, as it does at sign-in, and the request fails later, the middleware
    still sends the cookie with the new key, because the old key no longer works. If the session was
    ended while a view used it, the middleware raises Django's ``SessionInterrupted``, which Django
    answers with 400.
    """

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        super().__init__(get_response)
        outage.keep_out_of_django_log()

    def __call__(self, request: HttpRequest) -> Any:
        if self.async_mode:
            return self.__acall__(request)
        outage.watch(request)
        before = current.begin(request)
        try:
            return super().__call__(request)
        except SessionStoreUnavailable as error:  # from a subclass or the site's error page
            return self._after_failure(request, unavailable(request, error))
        finally:
            current.end(before)
            outage.unwatch(request)

    async def __acall__(self, request: HttpRequest) -> HttpResponse:
        outage.watch(request)
        before = current.begin(request)
        try:
            # A subclass's method is synchronous code, so it runs in a thread, as with Django's
            # middleware.
            begin: Any = self.process_request
            if self._is_own("process_request"):
                answer = begin(request)  # makes a store, without I/O
            else:
                answer = await sync_to_async(begin)(request)
            answer = answer or await self.get_response(request)  # type: ignore[misc]
            if self._is_own("process_response"):
                return await self._aprocess_response(request, answer)
            return await sync_to_async(self.process_response)(request, answer)
        except SessionStoreUnavailable as error:
            return self._after_failure(request, unavailable(request, error))
        finally:
            current.end(before)
            outage.unwatch(request)

    def _is_own(self, name: str) -> bool:
        method = getattr(getattr(self, name), "__func__", None)
        return method is getattr(SessionMiddleware, name)

    def process_request(self, request: HttpRequest) -> None:
        super().process_request(request)
        if isinstance(request.session, SessionStore):
            request.session.metadata_source = Visitor(request.META)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Answer 503 if the view could not reach Redis, or 400 if its session was ended."""
        if isinstance(exception, SessionStoreUnavailable):
            return unavailable(request, exception)
        if isinstance(exception, UpdateError) and not isinstance(exception, SessionInterrupted):
            raise SessionInterrupted(_INTERRUPTED) from exception
        return None

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        if response.status_code < 500:
            finish: Any = partial(self._finish, response=response)
            response = _with_error_responses(request, finish)(request)
        return self._after_failure(request, response) if response.status_code >= 500 else response

    async def _aprocess_response(
        self, request: HttpRequest, response: HttpResponse
    ) -> HttpResponse:
        if response.status_code < 500:
            finish: Any = partial(self._afinish, response=response)
            response = await _with_error_responses(request, finish)(request)
        return self._after_failure(request, response) if response.status_code >= 500 else response

    def _finish(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        try:
            if _is_saved_unseen(request):
                request.session._get_session()  # type: ignore[attr-defined]  # a SessionStore
            seen: Any = request
            if stand_ins.keeps_cookie(request):
                seen = stand_ins.RequestStandIn(request, request.session)
            response = super().process_response(seen, response)
        except SessionStoreUnavailable as error:
            return unavailable(request, error, response)
        except SessionLimitReached as error:
            # The session has no new user any more. Its other changes are saved.
            return self._finish(request, response_for_exception(request, error))
        if isinstance(session := getattr(request, "session", None), SessionStore):
            try:
                session.note_metadata()
            except SessionStoreUnavailable as error:
                _log_lost_metadata(error)
        return response

    async def _afinish(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        try:
            if _is_saved_unseen(request):
                await request.session._aget_session()  # type: ignore[attr-defined]
            response = await self._saved(request, response)
        except SessionStoreUnavailable as error:
            return unavailable(request, error, response)
        except SessionLimitReached as error:
            refused = await sync_to_async(response_for_exception)(request, error)
            return await self._afinish(request, refused)
        if isinstance(session := getattr(request, "session", None), SessionStore):
            try:
                await session.anote_metadata()
            except SessionStoreUnavailable as error:
                _log_lost_metadata(error)
        return response

    async def _saved(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """
        Do what Django's ``process_response`` does, without its blocking calls.

        This runs Django's method twice, with a stand-in for the session. The first run, on a
        response that is discarded, shows whether the session must be loaded or saved. Then the
        session is loaded or saved asynchronously. The second run, on the real response, sets the
        cookie and the headers.

        Running Django's own method, instead of an async copy of it, gives sites each security fix
        that Django makes there, such as the one for CVE-2026-35192, without a change to this code.
        """
        try:
            session = stand_ins.DeferredStandIn(request.session)
        except AttributeError:  # the request has no session, or a view replaced it
            return response
        stand_in: Any = stand_ins.RequestStandIn(request, session)
        discarded = stand_ins.DiscardedResponse()
        discarded.status_code = response.status_code
        super().process_response(stand_in, discarded)
        await session.load_and_save()
        return super().process_response(stand_in, response)

    def _after_failure(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """
        Set the cookie and headers of a response with a status of 500 or more.

        Returns a 503 instead of ``response`` if Redis caused the failure. A failed request saves
        nothing, so this sends no command to Redis: during an outage that would only take time.
        """
        error = outage.failure_of(request)
        if error and response.status_code == 500:
            response = unavailable(request, error, response)
        if response.status_code == 503:
            outage.log_503(request, last_failure(), response)  # if the view made the 503
        session = getattr(request, "session", None)
        if _has_new_key(request):
            self._send_new_key(request, response)
        elif error:
            patch_vary_headers(response, ("Cookie",))
        elif isinstance(session, SessionBase):
            stand_in: Any = stand_ins.RequestStandIn(request, stand_ins.OfflineStandIn(session))
            response = super().process_response(stand_in, response)
        return response

    def _send_new_key(self, request: HttpRequest, response: HttpResponse) -> None:
        stand_in: Any = stand_ins.RequestStandIn(request, stand_ins.NewKeyStandIn(request.session))
        # Django sets no cookie on a failed response, so this takes it from a successful one.
        successful = super().process_response(stand_in, HttpResponse())
        response.cookies.update(successful.cookies)
        patch_vary_headers(response, ("Cookie",))


_INTERRUPTED = "The session was ended or has expired before the request completed."


def _is_saved_unseen(request: HttpRequest) -> bool:
    """Whether Django may save a session that the view did not load, and ``BIND_TO`` may refuse."""
    # Django would store an empty session then, whose cookie takes the place of the visitor's.
    session = getattr(request, "session", None)
    return (
        settings.SESSION_SAVE_EVERY_REQUEST
        and isinstance(session, SessionStore)
        and session.session_key is not None
        and binding.applies_to(session)
    )


def _has_new_key(request: HttpRequest) -> bool:
    """Whether the session got a new key since the request came in with the old one."""
    # Keys are not put in variables: error reports print the values of variables.
    return (
        isinstance(session := getattr(request, "session", None), SessionStore)
        and hasattr(session, "_entries")  # a session that was not loaded has no new key
        and settings.SESSION_COOKIE_NAME in request.COOKIES
        and session.session_key is not None
        and session.session_key != request.COOKIES[settings.SESSION_COOKIE_NAME]
    )


def _with_error_responses(request: HttpRequest, finish: Any) -> Any:
    """
    Return ``finish``; if the key is new, one that turns exceptions into responses.

    The cookie with the new key must be set on that response, too.
    """
    return convert_exception_to_response(finish) if _has_new_key(request) else finish


def _log_lost_metadata(error: SessionStoreUnavailable) -> None:
    # The response is ready, and its session was read: there is no reason to withhold it.
    log.warning("When and where the session was last used could not be stored. %s", error)
