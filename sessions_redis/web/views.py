"""
"Where you're signed in": a user's own sessions, to look at and to end.

Plain forms, each with a page that asks before anything is ended. To have them look like the rest
of a site, override ``sessions_redis/base.html``, or single blocks of the other templates.
"""

from collections.abc import Callable
from functools import wraps

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import cache_control
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_http_methods, require_safe

from sessions_redis import logs
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.web import own_sessions as own

log = logs.named("sessions_redis")

View = Callable[..., HttpResponse]

# Seconds after which a browser may try again while Redis is away.
RETRY_AFTER = "5"


def for_users(view: View) -> View:
    """For who is signed in; kept by no cache; a page with status 503 when Redis is away."""
    protected = login_required(csrf_protect(view))

    @wraps(view)
    def answer(request: HttpRequest, **captured: str) -> HttpResponse:
        try:
            return protected(request, **captured)
        except SessionStoreUnavailable as error:
            log.warning("A page about the user's sessions cannot be shown. %s", error)
            return logs.logged(_unavailable(may_have_ended=isinstance(error, own.MayHaveEnded)))

    return cache_control(no_store=True)(answer)


def _unavailable(*, may_have_ended: bool) -> HttpResponse:
    # Without the request: what a site's base template asks of it (user, messages) needs Redis.
    page = render_to_string("sessions_redis/unavailable.html", {"may_have_ended": may_have_ended})
    return HttpResponse(page, status=503, headers={"Retry-After": RETRY_AFTER})


@require_safe
@for_users
def own_sessions(request: HttpRequest) -> HttpResponse:
    """
    The list. In its template: ``current``, the session that asks, ``others``, and ``more``.

    ``others`` are the newest; ``more`` says how many there are beside those.
    """
    overview = own.overview_of(request)
    context = {
        "current": overview.current,
        "others": overview.others,
        "more": overview.more,
        "user": request.user,
        "messages": messages.get_messages(request),
    }
    return render(request, "sessions_redis/list.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@for_users
def end(request: HttpRequest, session_id: str) -> HttpResponse:
    """End one session, or ask first. 404 if there is none any more, or it is somebody else's."""
    session = own.session_of(request, session_id)
    if session is None:
        return render(request, "sessions_redis/gone.html", status=404)
    if request.method != "POST":
        return render(request, "sessions_redis/confirm_end.html", {"session": session})
    own.end(request, session)
    if session.current:
        return redirect(settings.LOGOUT_REDIRECT_URL or "sessions_redis:list")
    said = _("Signed out: %(device)s") % {"device": session.device}
    return _back_to_the_list(request, said)


@require_http_methods(["GET", "HEAD", "POST"])
@for_users
def end_others(request: HttpRequest) -> HttpResponse:
    """End all sessions but the one that asks, or ask first."""
    if request.method != "POST":
        overview = own.overview_of(request)
        others, more = overview.others, overview.more
        context = {"others": others, "more": more, "total": len(others) + more}
        return render(request, "sessions_redis/confirm_end_others.html", context)
    ended = own.end_others(request)
    said = ngettext(
        "Signed out on %(count)d other device.", "Signed out on %(count)d other devices.", ended
    ) % {"count": ended}
    return _back_to_the_list(request, said)


def _back_to_the_list(request: HttpRequest, said: str) -> HttpResponse:
    messages.success(request, said, fail_silently=True)
    return redirect("sessions_redis:list")
