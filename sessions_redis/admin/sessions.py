"""The section itself: the list, a session's page, its history, and the form that finds by key."""

from functools import partial
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin.utils import quote
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from sessions_redis import registry
from sessions_redis.admin import entries, log, users
from sessions_redis.admin.columns import ColumnsAdmin
from sessions_redis.admin.ending import EndingAdmin
from sessions_redis.admin.filters import ExpiryFilter, SignedInFilter, UserFilter
from sessions_redis.admin.histogram import histogram
from sessions_redis.admin.listing import MOST, Listing
from sessions_redis.admin.outage import says_so
from sessions_redis.commands import session_id
from sessions_redis.models import Session

Context = dict[str, Any]


class SessionAdmin(ColumnsAdmin, EndingAdmin):
    """Who is signed in: to look at and to end. Nothing is added or changed here."""

    list_display = ("short_id", "user", "device", "address", "began", "saved", "expires_in")
    list_filter = (SignedInFilter, ExpiryFilter, UserFilter)
    list_per_page = 100
    sortable_by = ("expires_in",)
    ordering = ("-expires",)
    show_facets = admin.ShowFacets.NEVER
    # Searching is this class's own; without a field the admin would show no form.
    search_fields = ("user_pk",)
    search_help_text = gettext_lazy(
        "A user name or e-mail address, a user's primary key, or a session's ID."
    )
    fields = (
        "whole_id", "user", "device", "user_agent", "ip", "created_exactly", "saved_exactly",
        "expires_exactly", "expires_in",
    )  # fmt: skip
    readonly_fields = fields

    class Media:
        css = {"all": ("sessions_redis/admin.css",)}

    # Who may

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Session | None = None) -> bool:
        return False

    def has_view_entries_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("sessions_redis.view_session_entries")

    # What there is

    def get_queryset(self, request: HttpRequest) -> Any:
        return Listing(partial(users.introduce, request=request, site=self.admin_site))

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[Any, bool]:
        listing, term = queryset, search_term.strip()
        if not term:
            return listing, False
        if registry.is_id(term.lower()):
            return listing.of_ids([term.lower()]), False
        matches = users.search(term)
        return listing.of_users(matches.pks, capped=matches.capped), False

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Session | None:
        """A live session; where its history is asked for, also one that the log knows."""
        session = super().get_object(request, object_id, from_field)
        return log.ended(object_id) if session is None and _is_history(request) else session

    # Pages

    def get_urls(self) -> list[URLPattern]:
        def wrap(view: Any) -> Any:
            return self.admin_site.admin_view(view)

        own = [
            path("find/", wrap(self.find_view), name="sessions_redis_session_find"),
            path(
                "user/<path:user_pk>/end/",
                wrap(self.end_all_view),
                name="sessions_redis_session_end_all",
            ),
        ]
        return [*own, *super().get_urls()]

    @says_so
    def changelist_view(
        self, request: HttpRequest, extra_context: Context | None = None
    ) -> HttpResponse:
        response = super().changelist_view(request, extra_context)
        context = getattr(response, "context_data", None) or {}
        if "cl" in context:
            listing: Listing = context["cl"].queryset
            context["histogram"] = histogram()
            context["cap"] = users.CAP if listing.capped else None
            context["cut"] = MOST if listing.is_cut else None
            context["find_url"] = self._url("find")
            shown = context["cl"].result_list
            if listing.selection.users and len(listing.selection.users) == 1 and shown:
                context |= self._ending_all(request, shown[0])
        return response

    @says_so
    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: Context | None = None,
    ) -> HttpResponse:
        return super().changeform_view(request, object_id, form_url, extra_context)

    def render_change_form(
        self, request: HttpRequest, context: Context, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        session: Session = context["original"]
        may_see = self.has_view_entries_permission(request)
        context |= {
            "entries": entries.shown(session.live.entries(), with_values=may_see),
            "may_see_values": may_see,
            **self._ending_all(request, session),
        }
        return super().render_change_form(request, context, *args, **kwargs)

    @says_so
    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: Context | None = None
    ) -> HttpResponse:
        response = super().history_view(request, object_id, extra_context)
        context = getattr(response, "context_data", None) or {}
        if "object" in context:
            context |= self._crumbs(request, _("History"), context["object"])
        return response

    @method_decorator(require_http_methods(["GET", "HEAD", "POST"]))
    @method_decorator(sensitive_post_parameters("session_key"))
    @says_so
    def find_view(self, request: HttpRequest) -> HttpResponse:
        """
        Lead to the session of the key that was sent. Only the key's digest is looked for.

        Here the key comes, and goes no further: into no address, log or error report. Whoever had
        to sign in first comes without one, and is led to the list.
        """
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return redirect(self._list_url(request))
        id = session_id(request.POST.get("session_key", "").strip())
        session = registry.find(id)
        if session is None:
            self.message_user(request, _("No live session has this key."), messages.WARNING)
            return redirect(self._list_url(request))
        return redirect(self._filtered(request, self._url("change", id)))

    def _ending_all(self, request: HttpRequest, session: Session) -> Context:
        """For the buttons that lead to the other sessions of the user, and that end them all."""
        if session.user_pk is None:
            return {}
        end_all = self._url("end_all", quote(session.user_pk))
        return {
            "owner": session.owner,
            "user_list_url": self._url("changelist") + "?" + urlencode({"user": session.user_pk}),
            "end_all_url": end_all if self.has_delete_permission(request) else None,
        }


def _is_history(request: HttpRequest) -> bool:
    match = request.resolver_match
    return match is not None and match.url_name == "sessions_redis_session_history"
