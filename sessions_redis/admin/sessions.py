"""The model admin of sessions: the list of sessions, and the page of one."""

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.contrib.auth import SESSION_KEY
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path

from sessions_redis import conf
from sessions_redis.admin import entries, users
from sessions_redis.admin.activity import LOOKED_AT
from sessions_redis.admin.columns import ColumnsAdmin, ends_of
from sessions_redis.admin.ending_others import EndingOthersAdmin
from sessions_redis.admin.filters import ActivityFilter, ExpiryFilter, SignedInFilter, UserFilter
from sessions_redis.admin.finding import FindingAdmin
from sessions_redis.admin.histogram import histogram
from sessions_redis.admin.largest import LargestAdmin
from sessions_redis.admin.listing import SEVERAL_USERS_LIMIT, Listing
from sessions_redis.admin.outage import with_failure_page
from sessions_redis.admin.viewers import Viewer
from sessions_redis.capping import cap_of
from sessions_redis.models import Session
from sessions_redis.registry import finding

Context = dict[str, Any]


class SessionAdmin(ColumnsAdmin, FindingAdmin, EndingOthersAdmin, LargestAdmin):
    """Shows sessions and ends them. Staff can neither add nor change sessions here."""

    list_display = ("short_id", "user", "device", "address", "began", "active", "expires_in")
    list_filter = (SignedInFilter, ActivityFilter, ExpiryFilter, UserFilter)
    list_per_page = 100
    sortable_by = ("active", "expires_in")
    ordering = ("-expires",)
    show_facets = admin.ShowFacets.NEVER
    fields = (
        "whole_id", "user", "device", "user_agent", "ip", "created_exactly", "saved_exactly",
        "active_exactly", "expires_exactly", "expires_in",
    )  # fmt: skip
    readonly_fields = (*fields, "bound_to", "ends_exactly")

    class Media:
        css = {"all": ("sessions_redis/admin.css",)}

    # Permissions

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Session | None = None) -> bool:
        return False

    def has_view_entries_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("sessions_redis.view_session_entries")

    def get_model_perms(self, request: HttpRequest) -> dict[str, bool]:
        # The admin's start page links a section if the user may view or change it, and labels the
        # link "View" or "Change". Staff who may only end sessions need a link that is not "View".
        perms = super().get_model_perms(request)
        return {**perms, "change": perms["delete"] and not perms["view"]}

    # Data

    def get_queryset(self, request: HttpRequest) -> Any:
        return Listing(Viewer(request, self).label_users)

    # Pages

    def get_urls(self) -> list[URLPattern]:
        def wrap(view: Any) -> Any:
            return self.admin_site.admin_view(view)

        own = [
            path("largest/", wrap(self.largest_view), name="sessions_redis_session_largest"),
            path("find/", wrap(self.find_view), name="sessions_redis_session_find"),
            path(
                "end-others/",
                wrap(self.end_others_view),
                name="sessions_redis_session_end_others",
            ),
            path(
                "user/<path:user_pk>/end/",
                wrap(self.end_all_view),
                name="sessions_redis_session_end_all",
            ),
        ]
        return [*own, *super().get_urls()]

    @with_failure_page
    def changelist_view(
        self, request: HttpRequest, extra_context: Context | None = None
    ) -> HttpResponse:
        if request.method == "GET" and not self.has_view_or_change_permission(request):
            if not self.has_delete_permission(request):
                raise PermissionDenied
            return self.ending_page(request)
        response = super().changelist_view(request, extra_context)
        context = getattr(response, "context_data", None) or {}
        if "cl" in context:
            listing: Listing = context["cl"].queryset
            context["histogram"] = histogram()
            context["cap"] = users.MAX_USERS if listing.capped else None
            context["cut"] = SEVERAL_USERS_LIMIT if listing.is_cut else None
            context["looked_at"] = LOOKED_AT if listing.is_partial else None
            context["searched"] = None if listing.is_complete else finding.SEARCHED
            context["is_short"] = self.is_short(context["cl"].query)
            context["cl"].search_help_text = self.search_help(request)
            context["find_url"] = self._url("find")
            context["largest_url"] = self._url("largest")
            if listing.is_of_all and not context["cl"].query and self.may_end_others(request):
                context["end_others_url"] = self._url("end_others")
            shown = context["cl"].result_list
            if listing.selection.users and len(listing.selection.users) == 1 and shown:
                context |= self._ending_all(request, shown[0])
                context["user_cap"] = cap_of(listing.selection.users[0])
        return response

    @with_failure_page
    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: Context | None = None,
    ) -> HttpResponse:
        return super().changeform_view(request, object_id, form_url, extra_context)

    def get_fields(self, request: HttpRequest, obj: Session | None = None) -> Any:
        at = self.fields.index("ip") + 1
        bound = ("bound_to",) if conf.current().bind_to else ()
        ends = ("ends_exactly",) if obj is not None and ends_of(obj) else ()
        return (*self.fields[:at], *bound, *self.fields[at:], *ends)

    def render_change_form(
        self, request: HttpRequest, context: Context, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        session: Session = context["original"]
        may_see = self.has_view_entries_permission(request)
        stored = session.live.entries() if session.live else []
        if not Viewer(request, self).sees_primary_keys:
            # This entry is the user's primary key, which is a user name on this site.
            stored = [entry for entry in stored if entry.name != SESSION_KEY]
        context |= {
            "entries": entries.rows(stored, with_values=may_see),
            "may_see_values": may_see,
            **self._ending_all(request, session),
        }
        return super().render_change_form(request, context, *args, **kwargs)

    def _ending_all(self, request: HttpRequest, session: Session) -> Context:
        """Context for the buttons that list or end all sessions of the user."""
        if session.user_pk is None or not Viewer(request, self).sees_primary_keys:
            return {}
        end_all = self._url("end_all", quote(session.user_pk))
        return {
            "owner": session.owner,
            "user_list_url": self._url("changelist") + "?" + urlencode({"user": session.user_pk}),
            "end_all_url": end_all if self.has_delete_permission(request) else None,
        }
