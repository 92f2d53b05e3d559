"""The page with the history of a session, from the admin's log."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _

from sessions_redis import registry
from sessions_redis.admin import log, users
from sessions_redis.admin.links import LinksAdmin
from sessions_redis.admin.log import Ending
from sessions_redis.admin.outage import with_failure_page
from sessions_redis.admin.viewers import Viewer
from sessions_redis.models import Session


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the page. ``details``: the session's user, device and IP address, if known."""

    time: datetime
    staff: str
    action: str
    details: str = ""


class HistoryAdmin(LinksAdmin):
    """The history page, and the redirects from sessions that have ended."""

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Session | None:
        """Return a session; on the history page, also one that has ended and is in the log."""
        session = super().get_object(request, object_id, from_field)
        if session is None and _is_history(request):
            return _ended(object_id, Viewer(request, self))
        return session

    @with_failure_page
    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        # Checked first, so that staff who may not view sessions cannot find out which ones exist.
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        response = super().history_view(request, object_id, extra_context)
        context = getattr(response, "context_data", None) or {}
        if "object" in context:
            viewer = Viewer(request, self)
            context["lines"] = _lines([*context["action_list"]], viewer)
            context |= self._breadcrumbs(request, _("History"), context["object"])
        return response

    def _get_obj_does_not_exist_redirect(
        self, request: HttpRequest, opts: Any, object_id: str
    ) -> HttpResponse:
        # The admin calls this method, but does not document it.
        return self.redirect_from_ended(request, unquote(object_id))

    def redirect_from_ended(self, request: HttpRequest, id: str) -> HttpResponse:
        """Redirect to the history of a session that has ended, or to the list if there is none."""
        may_read = self.has_view_or_change_permission(request)
        if may_read and registry.is_id(id) and log.entries_of(id).exists():
            message = _("This session has ended. This is its history in the log.")
            self.message_user(request, message, messages.INFO)
            return redirect(self._filtered(request, self._url("history", id)))
        message = _("There is no session with this ID. It may have ended or expired.")
        self.message_user(request, message, messages.WARNING)
        return redirect(self._list_url(request))


def _ended(id: str, viewer: Viewer) -> Session | None:
    """Make a session from what the log knows about this ID; ``None`` if it has no entry."""
    entry = log.entries_of(id).first() if registry.is_id(id) else None
    if entry is None:
        return None
    session, ending = Session(id), Ending.read(entry)
    session.user_pk = ending.user_pk if ending else None
    viewer.label_users([session])
    if ending is None:
        session.user_label = _former_owner(entry, session) if viewer.sees_all_users else ""
    return session


def _former_owner(entry: LogEntry, session: Session) -> str:
    # Earlier versions wrote "<short id> (<user>)".
    return entry.object_repr.removeprefix(f"{session.short_id} (").removesuffix(")")


def _lines(entries: Sequence[LogEntry], viewer: Viewer) -> list[Line]:
    endings = [Ending.read(entry) for entry in entries]
    staff = [users.key_of(entry.user) for entry in entries]
    owners = [ending.user_pk for ending in endings if ending is not None]
    found = viewer.users_of(pk for pk in [*staff, *owners] if pk is not None)
    lines = []
    for entry, ending, staff_pk in zip(entries, endings, staff, strict=True):
        name = _staff_name(found.get(staff_pk or ""), staff_pk)
        action, details = (
            _in_words(ending, found, viewer) if ending else (_without_ending(entry, viewer), "")
        )
        lines.append(Line(entry.action_time, name, action, details))
    return lines


def _in_words(ending: Ending, found: Mapping[str, Any], viewer: Viewer) -> tuple[str, str]:
    pk = ending.user_pk
    owner = _("anonymous") if pk is None else viewer.user_label(pk, found.get(pk))
    action = ending.in_words(owner if viewer.sees_primary_keys or pk in found else None)
    return action, _(", ").join(filter(None, (owner, *ending.whereabouts())))


def _without_ending(entry: LogEntry, viewer: Viewer) -> str:
    """Describe an entry that an earlier version or other code wrote, which may name users."""
    if viewer.sees_all_users:
        return entry.get_change_message()
    if entry.action_flag == DELETION:
        return _("Ended.")
    return str(entry.get_action_flag_display())


def _staff_name(user: Any, pk: str | None) -> str:
    if user is not None:
        full_name = getattr(user, "get_full_name", str)()
        name = str(user.get_username())
        return f"{name} ({full_name})" if full_name else name
    if pk is None or users.is_named_by_key():
        return _("a staff member")
    return users.label_without_name(pk)


def _is_history(request: HttpRequest) -> bool:
    match = request.resolver_match
    return match is not None and match.url_name == "sessions_redis_session_history"
