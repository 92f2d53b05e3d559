"""
Makes the response while Redis is away: status 503, wherever in the site the session was needed.

Django turns an exception of a middleware or an error page into a 500, and logs it as an error. So
that the session middleware can answer 503 instead, the request remembers the exception if it was
`SessionStoreUnavailable`.
"""

import logging
import sys

from django.core.signals import got_request_exception
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template import TemplateDoesNotExist, loader
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from sessions_redis import logs
from sessions_redis.clients import outages
from sessions_redis.exceptions import SessionStoreUnavailable

log = logs.named("sessions_redis")

# The header Retry-After of each 503, in seconds. A restart of Redis takes about as long.
RETRY_AFTER = 5

# The page for a site without a template for it. Django's own one says that it is in English.
PAGE = """
<!doctype html>
<html lang="{language}">
<head>
  <title>{title}</title>
</head>
<body>
  <h1>{title}</h1><p>{details}</p>
</body>
</html>
"""

# The attribute of the request that holds its `SessionStoreUnavailable`, or None.
_FAILURE = "_session_store_unavailable"


def watch(request: HttpRequest) -> None:
    """Start to remember, on the request, a failure of Redis that Django turns into a 500."""
    setattr(request, _FAILURE, None)
    outages.collect_failures([])


def unwatch(request: HttpRequest) -> None:
    """Stop remembering: what an outer middleware does afterwards is not answered with a 503."""
    request.__dict__.pop(_FAILURE, None)
    outages.collect_failures(None)


def failure_of(request: HttpRequest) -> SessionStoreUnavailable | None:
    """Return the failure of Redis that this request must be answered with a 503 for, if any."""
    return getattr(request, _FAILURE, None)


def unavailable(
    request: HttpRequest, error: SessionStoreUnavailable, instead_of: HttpResponse | None = None
) -> HttpResponse:
    """Make the 503 that replaces ``instead_of``: JSON if that was JSON, otherwise a page."""
    setattr(request, _FAILURE, error)
    headers = {"Retry-After": str(RETRY_AFTER)}
    response: HttpResponse
    if instead_of is not None and instead_of.get("Content-Type") == "application/json":
        message = _("Sessions cannot be reached. Try again in a moment.")
        response = JsonResponse({"error": message}, status=503, headers=headers)
    else:
        response = HttpResponse(_page(request), status=503, headers=headers)
    log_503(request, error, response)
    return response


def log_503(
    request: HttpRequest, error: SessionStoreUnavailable | None, response: HttpResponse
) -> None:
    """
    Log the 503 as a warning, once.

    Django would log it as an error, which sites mail to their ``ADMINS``.
    """
    if error and not logs.is_logged(response):
        log.warning("Answered 503 to %s %s: %s", request.method, request.path, error)
        logs.logged(response)


def _page(request: HttpRequest) -> str:
    names = ["503.html"]
    if request.resolver_match and "admin" in request.resolver_match.app_names:
        names.insert(0, "admin/503.html")
    try:
        # Rendered without the request: a site's context processors may read the session.
        page: str = loader.render_to_string(names, {"retry_after": RETRY_AFTER})
    except TemplateDoesNotExist:
        page = PAGE.format(
            language=get_language() or "en",
            title=_("Service Unavailable"),
            details=_("Please try again in a moment. You have not been signed out."),
        )
    return page


def failure_behind(error: BaseException | None) -> SessionStoreUnavailable | None:
    """
    Return the `SessionStoreUnavailable` that caused ``error``, or ``None`` if none did.

    That is ``error`` itself, the error that it was raised ``from``, or, for an exception group,
    the first error of the group if all of them are failures of Redis. An error that happened
    while a view handled a failure of Redis is a different error.
    """
    return _failure_behind(error, ())


def _failure_behind(
    error: BaseException | None, seen: tuple[BaseException, ...]
) -> SessionStoreUnavailable | None:
    if error is None or isinstance(error, SessionStoreUnavailable):
        return error
    if any(error is one for one in seen):  # code of the site can make a circle of causes
        return None
    seen = (*seen, error)
    if isinstance(error, BaseExceptionGroup):  # of several tasks
        failures = [_failure_behind(one, seen) for one in error.exceptions]
        return failures[0] if all(failures) else None
    return _failure_behind(error.__cause__, seen)


def _remember_failure(*, request: HttpRequest | None = None, **kwargs: object) -> None:
    # Django sends the signal while it handles the exception, under WSGI and ASGI.
    if hasattr(request, _FAILURE):
        setattr(request, _FAILURE, failure_behind(sys.exception()))


got_request_exception.connect(_remember_failure)


def _is_for_django(record: logging.LogRecord) -> bool:
    request = getattr(record, "request", None)
    becomes_503 = (
        record.exc_info and request and failure_of(request) and failure_behind(record.exc_info[1])
    )
    return not becomes_503


def keep_out_of_django_log() -> None:
    """
    Keep Django from logging an exception that is answered with a 503 here.

    Django would log it as an error, with a report that holds all settings.
    """
    logging.getLogger("django.request").addFilter(_is_for_django)
