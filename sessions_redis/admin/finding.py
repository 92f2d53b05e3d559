"""
Finds sessions: with the search of the list, or with the session key.

Staff who may end sessions but not view them get a page instead of the list. They enter a session
key or a session ID there, and the next page asks whether to end that session.
"""

from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from sessions_redis import registry
from sessions_redis.admin.links import LinksAdmin
from sessions_redis.admin.outage import with_failure_page
from sessions_redis.admin.viewers import Viewer
from sessions_redis.registry import LiveSession, Started, finding
from sessions_redis.storage.commands import session_id

BY_NAME = gettext_lazy(
    "Enter a user name, an e-mail address, a user's primary key, or the first 6 or more "
    "characters of a session ID."
)
BY_KEY = gettext_lazy(
    "Enter a user's primary key, or the first 6 or more characters of a session ID."
)
BY_ID = gettext_lazy("Enter the first 6 or more characters of a session ID.")


class FindingAdmin(LinksAdmin):
    """The search of the list, and the form that takes a session key."""

    # Only makes the admin show its search form: the search itself is below.
    search_fields = ("user_pk",)

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[Any, bool]:
        """
        Find the sessions of matching users, and the sessions whose ID starts with the term.

        Users match only by what this viewer may see of them.
        """
        listing, term = queryset, search_term.strip()
        digits = term.lower()
        if not term:
            return listing, False
        if registry.is_id(digits):
            return listing.of_ids([digits]), False
        matches = Viewer(request, self).search(term)
        theirs = listing.of_users(matches.pks, capped=matches.capped)
        if not registry.is_start(digits):
            return theirs, False
        started = registry.starting_with(digits)
        if not started.sessions:
            theirs.is_complete = started.is_complete
            return theirs, False
        return listing.of_started(started, theirs), False

    def search_help(self, request: HttpRequest) -> str:
        viewer = Viewer(request, self)
        if viewer.sees_users:
            return str(BY_NAME)
        return str(BY_KEY if viewer.sees_primary_keys else BY_ID)

    def is_short(self, search_term: str) -> bool:
        """Whether the term looks like the start of a session ID, but has too few characters."""
        digits = search_term.strip().lower()
        return digits != "" and registry.is_short_start(digits)

    @method_decorator(require_http_methods(["GET", "HEAD", "POST"]))
    @method_decorator(sensitive_post_parameters("session_key"))
    @with_failure_page
    def find_view(self, request: HttpRequest) -> HttpResponse:
        """
        Redirect to the session with the key or ID that the form sent.

        This looks up only the digest of a key. No URL, log or error report contains the key.
        Redirects to the list if the request is not a POST, as after signing in on the way here.
        """
        sees_sessions = self.has_view_or_change_permission(request)
        if not sees_sessions and not self.has_delete_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return redirect(self._list_url(request))
        key_id, digits = _sent(request)
        started = _found(key_id, digits if registry.is_start(digits) else "")
        if len(started.sessions) == 1:
            page = "change" if sees_sessions else "delete"
            return redirect(self._filtered(request, self._url(page, started.sessions[0].id)))
        if started.sessions and sees_sessions:
            return redirect(self._url("changelist") + "?" + urlencode({"q": digits}))
        self.message_user(request, _not_found(started, digits), messages.WARNING)
        return redirect(self._list_url(request))

    def ending_page(self, request: HttpRequest) -> HttpResponse:
        """Show the page for staff who may end sessions but not view them, instead of the list."""
        request.current_app = self.admin_site.name
        title = _("End a session")
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "subtitle": None,
            "opts": self.opts,
            "media": self.media,
            "find_url": self._url("find"),
            **self._breadcrumbs(request, title, lists=False),
        }
        return TemplateResponse(request, "admin/sessions_redis/session/end.html", context)


def _sent(request: HttpRequest) -> tuple[str, str]:
    """Return what was sent, read in two ways: as a key (its ID), and as the digits of an ID."""
    sent = request.POST.get("session_key", "").strip()
    return session_id(sent), sent.lower()


def _found(key_id: str, digits: str) -> Started:
    is_whole = registry.is_id(digits)
    found: list[LiveSession] = registry.find_many([key_id, digits] if is_whole else [key_id])
    if found or is_whole or not digits:
        return Started(tuple(found[:1]))
    return registry.starting_with(digits)


def _not_found(started: Started, digits: str) -> str:
    if started.sessions:
        return _(
            "Several sessions have IDs that start with these characters. Enter more of the ID."
        )
    if not started.is_complete:
        return _(
            "Not found among the first %(count)d sessions or so, and there are more. To search "
            "all of them, enter all 32 characters of the ID."
        ) % {"count": finding.SEARCHED}
    if digits and registry.is_short_start(digits):
        return _(
            "There is no session with this key. To find a session by its ID, enter the first 6 or "
            "more characters of the ID."
        )
    return _("There is no session with this key or ID. It may have ended or expired.")
