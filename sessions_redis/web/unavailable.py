"""
The answer while sessions cannot be reached: 503, whatever it was that asked for a session.

Django makes a 500 of what a middleware or an error page raises, and logs it as an error. While the
session middleware is at work, the request says when that was `SessionStoreUnavailable`.
"""

import logging
import sys

from django.core.signals import got_request_exception
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template import TemplateDoesNotExist, loader
from django.utils.translation import gettext as _
from django.views.defaults import ERROR_PAGE_TEMPLATE

from sessions_redis import logs
from sessions_redis.clients import outages
from sessions_redis.exceptions import SessionStoreUnavailable

log = logs.named("sessions_redis")

# Seconds after which a client may try again: a restart of Redis takes about as long.
RETRY_AFTER = 5

# The request's attribute that says what could not be reached.
_MET = "_session_store_unavailable"


def watch(request: HttpRequest) -> None:
    """From now on take note when a 500 comes from sessions that cannot be reached."""
    setattr(request, _MET, None)
    outages.collect([])


def unwatch(request: HttpRequest) -> None:
    """What fails from now on, in a middleware further out, is nothing that is answered here."""
    request.__dict__.pop(_MET, None)
    outages.collect(None)


def met(request: HttpRequest) -> SessionStoreUnavailable | None:
    """What this request could not reach, if its answer is to be a 503 for that."""
    return getattr(request, _MET, None)


def unavailable(
    request: HttpRequest, error: SessionStoreUnavailable, instead_of: HttpResponse | None = None
) -> HttpResponse:
    """The answer in the place of ``instead_of``: in JSON if that is, else a page."""
    setattr(request, _MET, error)
    headers = {"Retry-After": str(RETRY_AFTER)}
    response: HttpResponse
    if instead_of is not None and instead_of.get("Content-Type") == "application/json":
        told = _("Sessions cannot be reached. Ask again.")
        response = JsonResponse({"error": told}, status=503, headers=headers)
    else:
        response = HttpResponse(_page(request), status=503, headers=headers)
    log_answer(request, error, response)
    return response


def log_answer(
    request: HttpRequest, error: SessionStoreUnavailable | None, response: HttpResponse
) -> None:
    """Log the 503 as a warning, unless that is done: Django would make it an error, and mail it."""
    if error and not logs.is_logged(response):
        log.warning("No session for %s %s: %s", request.method, request.path, error)
        logs.logged(response)


def _page(request: HttpRequest) -> str:
    names = ["503.html"]
    if request.resolver_match and "admin" in request.resolver_match.app_names:
        names.insert(0, "admin/503.html")
    try:
        # Without the request: what a site's context processors look up may be in the session.
        page: str = loader.render_to_string(names, {"retry_after": RETRY_AFTER})
    except TemplateDoesNotExist:
        title = _("Service Unavailable")
        details = _("Please try again in a moment. This does not sign you out.")
        page = ERROR_PAGE_TEMPLATE % {"title": title, "details": details}
    return page


def origin(error: BaseException | None) -> SessionStoreUnavailable | None:
    """
    The `SessionStoreUnavailable` that ``error`` is, or is raised ``from``, or consists of.

    An error that only came up while the other was being handled is one of its own.
    """
    if error is None or isinstance(error, SessionStoreUnavailable):
        return error
    if isinstance(error, BaseExceptionGroup):  # of tasks: each must have failed for that
        origins = [origin(one) for one in error.exceptions]
        return origins[0] if all(origins) else None
    return origin(error.__cause__)


def _take_note(*, request: HttpRequest | None = None, **kwargs: object) -> None:
    # Sent while Django handles the exception, under WSGI and ASGI.
    if hasattr(request, _MET):
        setattr(request, _MET, origin(sys.exception()))


got_request_exception.connect(_take_note)


def _is_left_to_django(record: logging.LogRecord) -> bool:
    request = getattr(record, "request", None)
    return not (record.exc_info and request and met(request) and origin(record.exc_info[1]))


def log_here_alone() -> None:
    """Keep Django from logging, as an error with all settings, what becomes a 503 here."""
    logging.getLogger("django.request").addFilter(_is_left_to_django)
