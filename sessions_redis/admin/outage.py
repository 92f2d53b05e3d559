"""What the pages of the section say when there is nothing to show: Redis is away, or no index."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from sessions_redis import logs
from sessions_redis.exceptions import SessionStoreUnavailable

log = logs.named("sessions_redis")

# Seconds after which a browser may try again while Redis is away.
RETRY_AFTER = "5"

View = Callable[..., HttpResponse]


def says_so(view: View) -> View:
    """
    A view of the section that answers with a page of the admin where the registry cannot.

    Away: status 503. Not configured, as without ``INDEX``: 200, for that is how the site is set up.
    """

    @wraps(view)
    def answer(model_admin: Any, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return view(model_admin, request, *args, **kwargs)
        except SessionStoreUnavailable as error:
            return away(model_admin, request, error)
        except ImproperlyConfigured as error:
            return _page(model_admin, request, error, is_away=False)

    return answer


def away(
    model_admin: Any,
    request: HttpRequest,
    error: SessionStoreUnavailable,
    *,
    ended: int = 0,
    unknown: int = 0,
    lost: bool = False,
) -> HttpResponse:
    """
    The page for ``error``, with status 503.

    ``ended``: how many sessions were ended before it. ``lost``: sessions may have been ended, for
    the reply was lost; those that are known are ``unknown``.
    """
    log.warning("The admin cannot show or end sessions. %s", error)
    response = _page(
        model_admin, request, error, is_away=True, ended=ended, unknown=unknown, lost=lost
    )
    response.status_code = 503
    response["Retry-After"] = RETRY_AFTER
    return logs.logged(response)


def _page(
    model_admin: Any, request: HttpRequest, error: Exception, **said: Any
) -> TemplateResponse:
    request.current_app = model_admin.admin_site.name
    context = {
        **model_admin.admin_site.each_context(request),
        "title": model_admin.opts.app_config.verbose_name,
        "opts": model_admin.opts,
        "media": model_admin.media,
        "error": error,
        **said,
    }
    return TemplateResponse(request, "admin/sessions_redis/session/unavailable.html", context)
