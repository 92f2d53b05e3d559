"""
The session middleware: Django's, native under ASGI as under WSGI, which also keeps where a session
was last used from, and answers 503 when Redis is away.
"""

import logging
from functools import partial
from typing import Any

from django.contrib.sessions import middleware
from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template import TemplateDoesNotExist, loader
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext as _
from django.views.defaults import ERROR_PAGE_TEMPLATE

from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.visitors import metadata_of

logger = logging.getLogger("sessions_redis")

# Seconds after which a client may try again: a restart of Redis takes about as long.
RETRY_AFTER = 5


class SessionMiddleware(middleware.SessionMiddleware):
    """
    Takes the place of ``django.contrib.sessions.middleware.SessionMiddleware``.

    Under ASGI nothing of it runs in a thread: a changed session is saved by ``asave()``. What makes
    a session be saved and its cookie be set, deleted or left alone is Django's own code, in either
    world.

    Keeps the visitor's address and user agent in the metadata fields ``@ip`` and ``@agent``: with
    the save at the end of a request, or, where the session was only read and they have changed, by
    a write of their own that extends no lifetime. ``METADATA: False`` keeps none of it, and drops
    what was kept with the next save.

    When Redis is away or refuses, the answer is 503 with ``Retry-After``, and the visitor's cookie
    stays as it is. In place of a JSON response it is in JSON, else rendered from the template
    ``503.html``, if the site has one; in the admin from ``admin/503.html``, which comes along.
    """

    def process_request(self, request: HttpRequest) -> None:
        super().process_request(request)
        if isinstance(request.session, SessionStore):
            request.session.metadata_source = partial(metadata_of, request.META)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Answer for a view that could not reach its session."""
        if isinstance(exception, SessionStoreUnavailable):
            return unavailable(request, exception)
        return None

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        if failure := _failure_of(request, response):
            return _for_failure(request, failure, response)
        try:
            response = super().process_response(request, response)
        except SessionStoreUnavailable as error:
            return unavailable(request, error, response)
        if session := _store_with_metadata(request, response):
            try:
                session.note_metadata()
            except SessionStoreUnavailable as error:
                _log_lost_metadata(error)
        return response

    async def __acall__(self, request: HttpRequest) -> HttpResponse:
        if type(self).process_response is not SessionMiddleware.process_response:
            # A subclass's own is synchronous code, which Django runs in a thread.
            return await super().__acall__(request)  # type: ignore[return-value]
        self.process_request(request)  # makes a store, asks nobody
        response: HttpResponse = await self.get_response(request)  # type: ignore[misc]
        if failure := _failure_of(request, response):
            return _for_failure(request, failure, response)
        try:
            response = await self._saved(request, response)
        except SessionStoreUnavailable as error:
            return unavailable(request, error, response)
        if session := _store_with_metadata(request, response):
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
            session = _Session(request.session)
        except AttributeError:  # there is none, or what a view has put there is none
            return response
        stand_in: Any = _Request(request, session)
        rehearsal = _Rehearsal()
        rehearsal.status_code = response.status_code
        super().process_response(stand_in, rehearsal)
        await session.do_what_was_asked()
        return super().process_response(stand_in, response)


class _Rehearsal(HttpResponse):
    """A response that is thrown away: what is long to write is not written."""

    def set_cookie(self, *args: Any, **kwargs: Any) -> None:
        pass


class _Request:
    """A request with another session."""

    def __init__(self, request: HttpRequest, session: "_Session") -> None:
        self._request = request
        self.session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._request, name)


class _Session:
    """
    A session as the view left it, for Django's code to ask.

    Until `do_what_was_asked` it only takes down what would block; afterwards it answers.
    """

    def __init__(self, session: SessionBase) -> None:
        self._session = session
        self.accessed = session.accessed
        self.modified = session.modified
        self._is_empty = session.is_empty()
        self._asked: set[str] = set()
        self._is_done = False
        self._update_error: UpdateError | None = None

    async def do_what_was_asked(self) -> None:
        if self._asked:
            await self._session._aget_session()  # type: ignore[attr-defined]
        if "save" in self._asked:
            try:
                await self._session.asave()
            except UpdateError as error:
                self._update_error = error
        self._is_done = True

    @property
    def session_key(self) -> str | None:
        return self._session.session_key

    def is_empty(self) -> bool:
        return self._is_empty

    def get_expire_at_browser_close(self) -> bool:
        return self._is_asked("expiry") and self._session.get_expire_at_browser_close()

    def get_expiry_age(self) -> int:
        return self._session.get_expiry_age() if self._is_asked("expiry") else 0

    def save(self) -> None:
        self._is_asked("save")
        if self._update_error:
            raise self._update_error

    def _is_asked(self, what: str) -> bool:
        self._asked.add(what)
        return self._is_done


def unavailable(
    request: HttpRequest, error: SessionStoreUnavailable, instead_of: HttpResponse | None = None
) -> HttpResponse:
    """The answer while sessions cannot be reached: 503, the visitor's cookie as it is."""
    logger.error("No session for %s %s: %s", request.method, request.path, error)
    headers = {"Retry-After": str(RETRY_AFTER)}
    if instead_of is not None and instead_of.get("Content-Type") == "application/json":
        told = _("Sessions cannot be reached. Ask again.")
        return JsonResponse({"error": told}, status=503, headers=headers)
    return HttpResponse(_page(request), status=503, headers=headers)


def _page(request: HttpRequest) -> str:
    names = ["503.html"]
    if request.resolver_match and "admin" in request.resolver_match.app_names:
        names.insert(0, "admin/503.html")
    try:
        # Without the request: what a site's context processors look up may be in the session.
        page: str = loader.render_to_string(names, {"retry_after": RETRY_AFTER})
    except TemplateDoesNotExist:
        title = _("Service Unavailable")
        details = _("Please try again in a moment. Nobody is signed out by this.")
        page = ERROR_PAGE_TEMPLATE % {"title": title, "details": details}
    return page


def _failure_of(request: HttpRequest, response: HttpResponse) -> SessionStoreUnavailable | None:
    if response.status_code < 500:
        return None
    return getattr(getattr(request, "session", None), "failure", None)


def _for_failure(
    request: HttpRequest, failure: SessionStoreUnavailable, response: HttpResponse
) -> HttpResponse:
    if response.status_code == 500:
        # Where another middleware met it, Django has made a 500 of the exception already.
        return unavailable(request, failure, response)
    # The view, or this middleware, has answered for it. To ask Redis again would only take time.
    patch_vary_headers(response, ("Cookie",))
    return response


def _store_with_metadata(request: HttpRequest, response: HttpResponse) -> SessionStore | None:
    session = getattr(request, "session", None)
    return session if isinstance(session, SessionStore) and response.status_code < 500 else None


def _log_lost_metadata(error: SessionStoreUnavailable) -> None:
    # The answer is made and its session was read: no reason to take it back.
    logger.warning("Where the session was used from is not kept. %s", error)
