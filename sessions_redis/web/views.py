"""
The pages "Where you're signed in": users see their own sessions and can end them.

The pages are plain HTML forms. A page asks for confirmation before a session ends. To give the
pages the look of your site, override the template ``sessions_redis/base.html``, or single blocks
of the other templates.
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
from sessions_redis.web.unavailable import RETRY_AFTER

log = logs.named("sessions_redis")

View = Callable[..., HttpResponse]


def for_users(view: View) -> View:
    """
    Make a view of a self-service page: only for signed-in users, and never cached.

    While Redis is away, it answers with a page of its own and status 503.
    """
    protected = login_required(csrf_protect(view))

    @wraps(view)
    def answer(request: HttpRequest, **captured: str) -> HttpResponse:
        try:
            return protected(request, **captured)
        except SessionStoreUnavailable as error:
            log.warning("The page of a user's own sessions cannot be shown. %s", error)
            return logs.logged(_unavailable(may_have_ended=isinstance(error, own.MayHaveEnded)))

    return cache_control(no_store=True)(answer)


def _unavailable(*, may_have_ended: bool) -> HttpResponse:
    # Rendered without the request: a site's base template may read the user or messages from
    # it, which needs Redis.
    page = render_to_string("sessions_redis/unavailable.html", {"may_have_ended": may_have_ended})
    return HttpResponse(page, status=503, headers={"Retry-After": str(RETRY_AFTER)})


@require_safe
@for_users
def own_sessions(request: HttpRequest) -> HttpResponse:
    """
    List the user's sessions.

    The template gets ``current``, the session of this request; ``others``, the other sessions
    that were used last; and ``more``, how many further sessions there are.
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
    """
    Ask whether to end one session (GET), or end it (POST).

    Answers 404 if the session has ended or belongs to another user.
    """
    session = own.session_of(request, session_id)
    if session is None:
        return render(request, "sessions_redis/gone.html", status=404)
    if request.method != "POST":
        return render(request, "sessions_redis/confirm_end.html", {"session": session})
    own.end(request, session)
    if session.current:
        return redirect(settings.LOGOUT_REDIRECT_URL or "sessions_redis:list")
    message = _("Signed out: %(device)s") % {"device": session.device}
    return _back_to_list(request, message)


@require_http_methods(["GET", "HEAD", "POST"])
@for_users
def end_others(request: HttpRequest) -> HttpResponse:
    """Ask whether to end all sessions except this request's (GET), or end them (POST)."""
    if request.method != "POST":
        overview = own.overview_of(request)
        others, more = overview.others, overview.more
        context = {"others": others, "more": more, "total": len(others) + more}
        return render(request, "sessions_redis/confirm_end_others.html", context)
    ended = own.end_others(request)
    message = ngettext(
        "Signed out on %(count)d other device.", "Signed out on %(count)d other devices.", ended
    ) % {"count": ended}
    return _back_to_list(request, message)


def _back_to_list(request: HttpRequest, message: str) -> HttpResponse:
    messages.success(request, message, fail_silently=True)
    return redirect("sessions_redis:list")
