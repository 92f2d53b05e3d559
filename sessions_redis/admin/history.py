"""The history of a session by the admin's log, in words for the viewer."""

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
from sessions_redis.admin.log import Ending
from sessions_redis.admin.outage import says_so
from sessions_redis.admin.viewers import Viewer
from sessions_redis.admin.ways import WaysAdmin
from sessions_redis.models import Session


@dataclass(frozen=True, slots=True)
class Line:
    """An entry of the log: when it was made, by which staff member, what was done, and to whom."""

    time: datetime
    staff: str
    said: str
    details: str = ""


class HistoryAdmin(WaysAdmin):
    """The part of the section that shows the log."""

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Session | None:
        """A live session; where its history is asked for, also one that the log knows."""
        session = super().get_object(request, object_id, from_field)
        if session is None and _is_history(request):
            return _ended(object_id, Viewer(request, self))
        return session

    @says_so
    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        # Before it looks: staff who may not view sessions do not learn whether it exists.
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        response = super().history_view(request, object_id, extra_context)
        context = getattr(response, "context_data", None) or {}
        if "object" in context:
            viewer = Viewer(request, self)
            context["lines"] = _lines([*context["action_list"]], viewer)
            context |= self._crumbs(request, _("History"), context["object"])
        return response

    def _get_obj_does_not_exist_redirect(
        self, request: HttpRequest, opts: Any, object_id: str
    ) -> HttpResponse:
        # The admin calls this, and does not document it.
        return self.gone(request, unquote(object_id))

    def gone(self, request: HttpRequest, id: str) -> HttpResponse:
        """Lead to the history of a session that is not live, if the log knows it; else away."""
        may_read = self.has_view_or_change_permission(request)
        if may_read and registry.is_id(id) and log.entries_of(id).exists():
            said = _("This session is not live any more. Here is what the log says about it.")
            self.message_user(request, said, messages.INFO)
            return redirect(self._filtered(request, self._url("history", id)))
        said = _("No live session has this ID. It has ended or expired, or there never was one.")
        self.message_user(request, said, messages.WARNING)
        return redirect(self._list_url(request))


def _ended(id: str, viewer: Viewer) -> Session | None:
    """The session of this id as far as the log knows it; ``None`` if it does not."""
    entry = log.entries_of(id).first() if registry.is_id(id) else None
    if entry is None:
        return None
    session, ending = Session(id), Ending.read(entry)
    session.user_pk = ending.user_pk if ending else None
    viewer.introduce([session])
    if ending is None:
        session.whose = _former_owner(entry, session) if viewer.sees_all_users else ""
    return session


def _former_owner(entry: LogEntry, session: Session) -> str:
    # An earlier version wrote "<short id> (<user>)".
    return entry.object_repr.removeprefix(f"{session.short_id} (").removesuffix(")")


def _lines(entries: Sequence[LogEntry], viewer: Viewer) -> list[Line]:
    endings = [Ending.read(entry) for entry in entries]
    staff = [users.key_of(entry.user) for entry in entries]
    owners = [ending.user_pk for ending in endings if ending is not None]
    found = viewer.users_of(pk for pk in [*staff, *owners] if pk is not None)
    lines = []
    for entry, ending, staff_pk in zip(entries, endings, staff, strict=True):
        name = _staff_name(found.get(staff_pk or ""), staff_pk)
        said, details = _said(ending, found, viewer) if ending else (_bare(entry, viewer), "")
        lines.append(Line(entry.action_time, name, said, details))
    return lines


def _said(ending: Ending, found: Mapping[str, Any], viewer: Viewer) -> tuple[str, str]:
    pk = ending.user_pk
    owner = _("anonymous") if pk is None else viewer.called(pk, found.get(pk))
    said = ending.said(owner if viewer.sees_keys or pk in found else _("one user"))
    return said, ", ".join(filter(None, (owner, ending.device, ending.ip)))


def _bare(entry: LogEntry, viewer: Viewer) -> str:
    """An entry that an earlier version wrote, or somebody else: it may name users."""
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
    return users.unnamed(pk)


def _is_history(request: HttpRequest) -> bool:
    match = request.resolver_match
    return match is not None and match.url_name == "sessions_redis_session_history"
