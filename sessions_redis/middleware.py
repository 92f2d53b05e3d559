"""
The session middleware: Django's, native under ASGI as under WSGI, which also keeps where a session
was last used from, and answers 503 when Redis is away.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.sessions import middleware
from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.core.handlers.exception import convert_exception_to_response
from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers

from sessions_redis import logs, stand_ins
from sessions_redis.clients.outages import last_met
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.web import unavailable as outage
from sessions_redis.web.unavailable import unavailable
from sessions_redis.web.visitors import Visitor

log = logs.named("sessions_redis")


class SessionMiddleware(middleware.SessionMiddleware):
    """
    Takes the place of ``django.contrib.sessions.middleware.SessionMiddleware``.

    Under ASGI nothing of it runs in a thread: a changed session is saved by ``asave()``. What makes
    a session be saved and its cookie be set, deleted or left alone is Django's own code, in either
    world. A subclass may override Django's methods with synchronous code: each method that it
    overrides runs in a thread, as those of Django's middleware do.

    Keeps the visitor's address and user agent in the metadata fields ``@ip`` and ``@agent``: with
    the save at the end of a request, or, where the session was only read and they have changed, by
    a write of their own that extends no lifetime. ``METADATA: False`` keeps none of it, and drops
    what was kept with the next save.

    When Redis is away or refuses, the answer is 503 with ``Retry-After``, and the visitor's cookie
    stays as it is: for whatever store the request needed, in a view, a template, or a middleware
    behind this one. If the view had returned JSON it is JSON, else it is rendered from the template
    ``503.html``, if the site has one; in the admin from ``admin/503.html``, which comes along.

    When a session has got a new key, as it does by signing in, and the request fails later, the
    cookie follows it all the same: the old key is dead. When a session was ended while a view
    worked with it, the answer is Django's for ``SessionInterrupted``, 400.
    """

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        super().__init__(get_response)
        outage.log_here_alone()

    def __call__(self, request: HttpRequest) -> Any:
        if self.async_mode:
            return self.__acall__(request)
        outage.watch(request)
        try:
            return super().__call__(request)
        except SessionStoreUnavailable as error:  # in a subclass, or in the site's error page
            return self._after_failure(request, unavailable(request, error))
        finally:
            outage.unwatch(request)

    async def __acall__(self, request: HttpRequest) -> HttpResponse:
        outage.watch(request)
        try:
            # A method of a subclass is synchronous code, which Django runs in a thread.
            begin: Any = self.process_request
            if self._is_own("process_request"):
                answer = begin(request)  # makes a store, asks nobody
            else:
                answer = await sync_to_async(begin)(request)
            answer = answer or await self.get_response(request)  # type: ignore[misc]
            if self._is_own("process_response"):
                return await self._aprocess_response(request, answer)
            return await sync_to_async(self.process_response)(request, answer)
        except SessionStoreUnavailable as error:
            return self._after_failure(request, unavailable(request, error))
        finally:
            outage.unwatch(request)

    def _is_own(self, name: str) -> bool:
        method = getattr(getattr(self, name), "__func__", None)
        return method is getattr(SessionMiddleware, name)

    def process_request(self, request: HttpRequest) -> None:
        super().process_request(request)
        if isinstance(request.session, SessionStore):
            request.session.metadata_source = Visitor(request.META)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Answer for a view that could not reach its session, or whose session is gone."""
        if isinstance(exception, SessionStoreUnavailable):
            return unavailable(request, exception)
        if isinstance(exception, UpdateError) and not isinstance(exception, SessionInterrupted):
            raise SessionInterrupted(_INTERRUPTED) from exception
        return None

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        if response.status_code < 500:
            finish: Any = partial(self._finish, response=response)
            response = _finishing(request, finish)(request)
        return self._after_failure(request, response) if response.status_code >= 500 else response

    async def _aprocess_response(
        self, request: HttpRequest, response: HttpResponse
    ) -> HttpResponse:
        if response.status_code < 500:
            finish: Any = partial(self._afinish, response=response)
            response = await _finishing(request, finish)(request)
        return self._after_failure(request, response) if response.status_code >= 500 else response

    def _finish(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        try:
            response = super().process_response(request, response)
        except SessionStoreUnavailable as error:
            return unavailable(request, error, response)
        if isinstance(session := getattr(request, "session", None), SessionStore):
            try:
                session.note_metadata()
            except SessionStoreUnavailable as error:
                _log_lost_metadata(error)
        return response

    async def _afinish(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        try:
            response = await self._saved(request, response)
        except SessionStoreUnavailable as error:
            return unavailable(request, error, response)
        if isinstance(session := getattr(request, "session", None), SessionStore):
            try:
                await session.anote_metadata()
            except SessionStoreUnavailable as error:
                _log_lost_metadata(error)
        return response

    async def _saved(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """
        What ``process_response`` of Django's middleware does, without its blocking calls.

        Its code runs twice, on a stand-in for the session: first on a response that is thrown
        away, to learn what it asks of the session; then, that being done, on the real one.
        """
        try:
            session = stand_ins.AwaitedSession(request.session)
        except AttributeError:  # there is none, or what a view has put there is none
            return response
        stand_in: Any = stand_ins.Request(request, session)
        rehearsal = stand_ins.Rehearsal()
        rehearsal.status_code = response.status_code
        super().process_response(stand_in, rehearsal)
        await session.do_what_was_asked()
        return super().process_response(stand_in, response)

    def _after_failure(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """
        ``response``, or a 503 in its place, with what there is to say of the session's cookie.

        Nothing of a failed request is saved, so Redis is not asked for it, which would take time.
        """
        error = outage.met(request)
        if error and response.status_code == 500:
            response = unavailable(request, error, response)
        if response.status_code == 503:
            outage.log_answer(request, last_met(), response)  # the view has answered for it
        session = getattr(request, "session", None)
        if _has_moved(request):
            self._let_cookie_follow(request, response)
        elif error:
            patch_vary_headers(response, ("Cookie",))
        elif isinstance(session, SessionBase):
            stand_in: Any = stand_ins.Request(request, stand_ins.Session(session))
            response = super().process_response(stand_in, response)
        return response

    def _let_cookie_follow(self, request: HttpRequest, response: HttpResponse) -> None:
        stand_in: Any = stand_ins.Request(request, stand_ins.MovedSession(request.session))
        succeeded = super().process_response(stand_in, HttpResponse())
        response.cookies.update(succeeded.cookies)
        patch_vary_headers(response, ("Cookie",))


_INTERRUPTED = "The session was deleted or has expired before the request completed."


def _has_moved(request: HttpRequest) -> bool:
    """Whether the request came with the key of a session that has another one by now."""
    # No variable holds a key: error reports print those.
    return (
        isinstance(session := getattr(request, "session", None), SessionStore)
        and hasattr(session, "_entries")  # what has not been loaded has not moved
        and settings.SESSION_COOKIE_NAME in request.COOKIES
        and session.session_key is not None
        and session.session_key != request.COOKIES[settings.SESSION_COOKIE_NAME]
    )


def _finishing(request: HttpRequest, finish: Any) -> Any:
    """``finish``, with exceptions made an answer where a cookie must be set on that, too."""
    return convert_exception_to_response(finish) if _has_moved(request) else finish


def _log_lost_metadata(error: SessionStoreUnavailable) -> None:
    # The answer is made and its session was read: no reason to take it back.
    log.warning("Where the session was used from is not kept. %s", error)
