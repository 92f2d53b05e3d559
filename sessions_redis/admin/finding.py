"""
Finding a session: by a search of the list, and by the session's key.

Staff who may end sessions but not view them have a page in place of the list. It takes a key
or an ID, and leads to the question whether to end that session.
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
from sessions_redis.admin.outage import says_so
from sessions_redis.admin.viewers import Viewer
from sessions_redis.admin.ways import WaysAdmin
from sessions_redis.registry import LiveSession, Started, finding
from sessions_redis.storage.commands import session_id

BY_NAME = gettext_lazy(
    "A user name or e-mail address, a user's primary key, or 6 or more of the first characters "
    "of a session's ID."
)
BY_KEY = gettext_lazy(
    "A user's primary key, or 6 or more of the first characters of a session's ID."
)
BY_ID = gettext_lazy("6 or more of the first characters of a session's ID.")


class FindingAdmin(WaysAdmin):
    """The part of the section that finds sessions."""

    # Searching is this class's own; without a field the admin would show no form.
    search_fields = ("user_pk",)

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[Any, bool]:
        """
        Sessions of the users whom ``search_term`` finds, and those whose ids start with it.

        Of users it finds what this viewer sees of them, and nothing else.
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
        return str(BY_KEY if viewer.sees_keys else BY_ID)

    def is_short(self, search_term: str) -> bool:
        """Whether the list was searched for the start of an id, and for too little of it."""
        digits = search_term.strip().lower()
        return digits != "" and registry.is_short_start(digits)

    @method_decorator(require_http_methods(["GET", "HEAD", "POST"]))
    @method_decorator(sensitive_post_parameters("session_key"))
    @says_so
    def find_view(self, request: HttpRequest) -> HttpResponse:
        """
        Redirect to the session with the key or ID that was sent.

        Only the digest of a key is looked up. No address, log or error report shows the key. Staff
        who had to sign in first arrive without a key, and go to the list.
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
        """The page in place of the list, for staff who may end sessions but not view them."""
        request.current_app = self.admin_site.name
        title = _("End a session")
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "subtitle": None,
            "opts": self.opts,
            "media": self.media,
            "find_url": self._url("find"),
            **self._crumbs(request, title, lists=False),
        }
        return TemplateResponse(request, "admin/sessions_redis/session/end.html", context)


def _sent(request: HttpRequest) -> tuple[str, str]:
    """The ID of the key that was sent, and what was sent as the digits of an ID."""
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
        return _("The IDs of several live sessions start so. Enter more characters of the ID.")
    if not started.is_complete:
        return _(
            "This search looked at about %(count)d sessions, and found none whose ID starts with "
            "these characters. There are more sessions: enter all 32 characters."
        ) % {"count": finding.SEARCHED}
    if digits and registry.is_short_start(digits):
        return _(
            "No live session has this key. To find a session by its ID, enter 6 or more of the "
            "first characters of the ID."
        )
    return _("No live session has this key or ID.")
