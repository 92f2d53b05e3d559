"""The page that the section shows when Redis is away, or when the site keeps no index."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from sessions_redis import logs
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.web.unavailable import RETRY_AFTER

log = logs.named("sessions_redis")

View = Callable[..., HttpResponse]


def with_failure_page(view: View) -> View:
    """
    Make a view of the section that shows an admin page when it cannot read sessions.

    The status is 503 while Redis is away. It is 200 if the site is not configured to list sessions
    (``INDEX: False``), because that is not a failure.
    """

    @wraps(view)
    def answer(model_admin: Any, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return view(model_admin, request, *args, **kwargs)
        except SessionStoreUnavailable as error:
            return unavailable_page(model_admin, request, error)
        except ImproperlyConfigured as error:
            return _page(model_admin, request, error, is_away=False)

    return answer


def unavailable_page(
    model_admin: Any,
    request: HttpRequest,
    error: SessionStoreUnavailable,
    *,
    ended: int = 0,
    unknown: int = 0,
    lost: bool = False,
) -> HttpResponse:
    """
    Make the page for a failure of Redis, with status 503.

    ``ended``: how many sessions ended before the failure. ``lost``: whether more may have ended,
    because the reply was lost. ``unknown``: how many of those are known.
    """
    log.warning("The admin cannot show or end sessions. %s", error)
    response = _page(
        model_admin, request, error, is_away=True, ended=ended, unknown=unknown, lost=lost
    )
    response.status_code = 503
    response["Retry-After"] = str(RETRY_AFTER)
    return logs.logged(response)


def _page(
    model_admin: Any, request: HttpRequest, error: Exception, **details: Any
) -> TemplateResponse:
    request.current_app = model_admin.admin_site.name
    context = {
        **model_admin.admin_site.each_context(request),
        "title": model_admin.opts.app_config.verbose_name,
        "opts": model_admin.opts,
        "media": model_admin.media,
        "error": error,
        **details,
    }
    return TemplateResponse(request, "admin/sessions_redis/session/unavailable.html", context)
