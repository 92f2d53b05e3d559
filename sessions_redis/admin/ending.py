"""
Ending sessions in the admin: one, those selected, all of a user.

Each way asks first, checks the permission to delete, writes to the admin's log and says what was
done. Whoever would end the session that asks is asked twice, and is signed out properly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import django
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.templatetags.admin_urls import add_preserved_filters
from django.contrib.admin.utils import quote, unquote
from django.contrib.auth import logout
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from sessions_redis import registry
from sessions_redis.admin import log
from sessions_redis.admin.outage import says_so
from sessions_redis.admin.users import own_session_id
from sessions_redis.models import Session

# Sessions named one by one where they are about to be ended.
SHOWN = 100

# What the form sends: that it was asked, and that it was asked about one's own session.
ASKED, ASKED_AGAIN = "post", "own"

TEMPLATE = "admin/sessions_redis/session/delete_confirmation.html"

if TYPE_CHECKING:
    from sessions_redis.admin.listing import Listing

    SessionModelAdmin = admin.ModelAdmin[Session]
else:
    SessionModelAdmin = admin.ModelAdmin


@dataclass(frozen=True, slots=True)
class Question:
    """
    Whether to end some sessions. ``sessions`` are the first of ``total``.

    ``has_own``: the session that asks is one of them. ``hidden``: what the form sends beside.
    ``page``: the address of the page that this was asked from, if that is not the list.
    """

    title: str
    text: str
    sessions: Sequence[Session]
    total: int
    has_own: bool
    hidden: Sequence[tuple[str, str]] = ()
    page: str = ""

    @property
    def unnamed(self) -> int:
        return self.total - len(self.sessions)

    def is_answered(self, request: HttpRequest) -> bool:
        """Whether the answer was yes, and yes again where the own session is among them."""
        return ASKED in request.POST and (not self.has_own or ASKED_AGAIN in request.POST)


class EndingAdmin(SessionModelAdmin):
    """The part of the section that ends sessions."""

    actions = ("delete_selected",)

    @says_so
    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """End one session."""
        session = self.get_object(request, unquote(object_id))
        if not self.has_delete_permission(request, session):
            raise PermissionDenied
        if session is None:
            return self._gone(request, object_id)
        question = Question(
            _("End session"),
            _("Are you sure you want to end this session?"),
            [session],
            total=1,
            has_own=session.is_own,
            page=self._page_url(request, session),
        )
        if not question.is_answered(request):
            return self._ask(request, question)

        def end() -> list[str]:
            # None where somebody else was faster.
            return [session.pk] if registry.end(session.pk, reason="admin") else []

        ended = log.record(request, [session], _("Ended."), end)
        return self._done(request, question, ended)

    # By this name it takes the place of the admin's own action.
    @admin.action(
        permissions=["delete"], description=gettext_lazy("End selected %(verbose_name_plural)s")
    )
    def delete_selected(self, request: HttpRequest, queryset: Any) -> HttpResponse:
        """End the sessions of a listing, which names ids or goes across all pages."""
        listing: Listing = queryset
        across, total = listing.ids is None, listing.count()
        question = Question(
            _("End sessions"),
            ngettext(
                "Are you sure you want to end the selected session?",
                "Are you sure you want to end the selected sessions?",
                total,
            ),
            list(listing[:SHOWN]),
            total,
            has_own=listing.holds(own_session_id(request)),
            hidden=[
                ("action", "delete_selected"),
                ("select_across", str(int(across))),
                *[(ACTION_CHECKBOX_NAME, id) for id in listing.ids or [""]],
            ],
        )
        if not question.is_answered(request):
            return self._ask(request, question)
        said = _("Ended, with others that were selected.")
        ended = 0
        for batch in listing.batches():
            end = partial(registry.end_many, [session.pk for session in batch], reason="admin")
            ended += log.record(request, batch, said, end)
        return self._done(request, question, ended)

    @says_so
    def end_all_view(self, request: HttpRequest, user_pk: str) -> HttpResponse:
        """End all sessions of the user with the primary key ``user_pk``, as the admin quotes it."""
        if not self.has_delete_permission(request):
            raise PermissionDenied
        pk = unquote(user_pk)
        listing: Any = self.get_queryset(request)
        listing = listing.of_users([pk])
        shown = list(listing[:SHOWN])
        owner = shown[0].owner if shown else pk
        question = Question(
            _("End all sessions of %(user)s") % {"user": owner},
            _("Are you sure you want to end all sessions of %(user)s?") % {"user": owner},
            shown,
            total=listing.count(),
            has_own=listing.holds(own_session_id(request)),
        )
        if not question.is_answered(request):
            return self._ask(request, question)
        said = _("Ended, with all sessions of %(user)s.") % {"user": owner}
        end = partial(registry.end_each_of, pk, reason="admin")
        ended = log.record(request, list(listing), said, end, owner=owner)
        return self._done(request, question, ended)

    def _ask(self, request: HttpRequest, question: Question) -> HttpResponse:
        if not question.total:
            return self._done(request, question, 0)
        request.current_app = self.admin_site.name
        context = {
            **self.admin_site.each_context(request),
            "title": question.title,
            "subtitle": None,
            "opts": self.opts,
            "media": self.media,
            "question": question,
            "asks_again": ASKED in request.POST,
            "crumbs": self._crumbs(request, question),
            # The markup of the admin's own changed.
            "crumbs_are_items": django.VERSION >= (6, 1),
            "back_url": question.page or self._list_url(request),
        }
        return TemplateResponse(request, self.delete_confirmation_template or TEMPLATE, context)

    def _done(self, request: HttpRequest, question: Question, ended: int) -> HttpResponse:
        url = self._list_url(request)
        if ended and question.has_own:
            logout(request)
        if ended:
            said = ngettext(
                "%(count)d session was ended.", "%(count)d sessions were ended.", ended
            ) % {"count": ended}
            self.message_user(request, said, messages.SUCCESS)
        else:
            self.message_user(request, _("No session is left to end."), messages.WARNING)
        return redirect(url)

    def _gone(self, request: HttpRequest, object_id: str) -> HttpResponse:
        # The admin's own words and way, which it does not document.
        redirect_to_index: Any = self._get_obj_does_not_exist_redirect  # type: ignore[attr-defined]
        response: HttpResponse = redirect_to_index(request, self.opts, object_id)
        return response

    def _list_url(self, request: HttpRequest) -> str:
        """The list as it was filtered, or the admin's index for who may not see the list."""
        site = self.admin_site.name
        if not self.has_view_or_change_permission(request):
            return reverse("admin:index", current_app=site)
        url = reverse("admin:sessions_redis_session_changelist", current_app=site)
        return self._filtered(request, url)

    def _page_url(self, request: HttpRequest, session: Session) -> str:
        """A session's page, with the way back to the list as it was filtered."""
        name = "admin:sessions_redis_session_change"
        url = reverse(name, args=[quote(session.pk)], current_app=self.admin_site.name)
        return self._filtered(request, url)

    def _filtered(self, request: HttpRequest, url: str) -> str:
        preserved: dict[str, Any] = {
            "preserved_filters": self.get_preserved_filters(request),
            "opts": self.opts,
        }
        return add_preserved_filters(preserved, url)

    def _crumbs(self, request: HttpRequest, question: Question) -> list[tuple[str, str]]:
        """The way here: addresses and words. The last is this page, and has no address."""
        site, app = self.admin_site.name, self.opts.app_config
        crumbs = [
            (reverse("admin:index", current_app=site), _("Home")),
            (
                reverse("admin:app_list", args=[self.opts.app_label], current_app=site),
                str(app.verbose_name),
            ),
            (self._list_url(request), capfirst(str(self.opts.verbose_name_plural))),
        ]
        if question.page:
            crumbs.append((question.page, str(question.sessions[0])))
        return [*crumbs, ("", question.title)]
