"""
Ending sessions in the admin: one, those selected, all of a user.

Each way asks first, checks the permission to delete, writes to the admin's log and says what was
done. Staff who end their own session are asked twice, and are signed out properly. Staff
without the permission to view sessions see a session's ID, and nothing else of it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import unquote
from django.contrib.auth import logout
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from sessions_redis import registry
from sessions_redis.admin import log
from sessions_redis.admin.columns import exactly
from sessions_redis.admin.history import HistoryAdmin
from sessions_redis.admin.outage import away, says_so
from sessions_redis.admin.viewers import Viewer, own_session_id
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.models import Session
from sessions_redis.web.devices import device_of

# Sessions named one by one where they are about to be ended.
SHOWN = 100

# One step of ending: some sessions are ended, and logged.
Step = Callable[[], log.Outcome]

# What the form sends: that it was asked, and that it was asked about one's own session.
ASKED, ASKED_AGAIN = "post", "own"

TEMPLATE = "admin/sessions_redis/session/delete_confirmation.html"

if TYPE_CHECKING:
    from sessions_redis.admin.listing import Listing


@dataclass(frozen=True, slots=True)
class Named:
    """A session in words. ``page``: its address, ``""`` if the viewer may not see it."""

    session: Session
    page: str

    @property
    def device(self) -> str:
        return device_of(self.session.user_agent)

    @property
    def created(self) -> str:
        return exactly(self.session.created)


@dataclass(frozen=True, slots=True)
class Question:
    """
    Whether to end some sessions. ``sessions`` are the first of ``total``.

    ``has_own``: the session that asks is one of them. ``hidden``: what the form sends beside.
    ``asked_at``: the session whose page this was asked from, if that was not the list.
    """

    title: str
    text: str
    sessions: Sequence[Session]
    total: int
    has_own: bool
    hidden: Sequence[tuple[str, str]] = ()
    asked_at: Session | None = None

    @property
    def unnamed(self) -> int:
        return self.total - len(self.sessions)

    def is_answered(self, request: HttpRequest) -> bool:
        """Whether the answer was yes, and yes again where the own session is among them."""
        return ASKED in request.POST and (not self.has_own or ASKED_AGAIN in request.POST)


class EndingAdmin(HistoryAdmin):
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
            return self.gone(request, unquote(object_id))
        question = Question(
            _("End session"),
            _("Are you sure you want to end this session?"),
            [session],
            total=1,
            has_own=session.is_own,
            asked_at=session,
        )
        if not question.is_answered(request):
            return self._ask(request, question)

        def end() -> list[str]:
            # None where somebody else was faster.
            return [session.pk] if registry.end(session.pk, reason="admin") else []

        recorder = self._recorder(request, log.ALONE)
        return self._end(request, question, [partial(recorder.record, [session], end)])

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
        recorder = self._recorder(request, log.SELECTED)
        return self._end(request, question, self._recorded(recorder, listing))

    @says_so
    def end_all_view(self, request: HttpRequest, user_pk: str) -> HttpResponse:
        """
        End all sessions of the user with the primary key ``user_pk``, as the admin quotes it.

        This shows whether there are any, so staff must be allowed to see sessions, too; and where a
        primary key is a name, users.
        """
        viewer = Viewer(request, self)
        may_see = viewer.sees_sessions and viewer.sees_keys
        if not may_see or not self.has_delete_permission(request):
            raise PermissionDenied
        pk = unquote(user_pk)
        listing: Any = self.get_queryset(request)
        listing = listing.of_users([pk])
        shown = list(listing[:SHOWN])
        owner = shown[0].owner if shown else viewer.called(pk)
        question = Question(
            _("End all sessions of %(user)s") % {"user": owner},
            _("Are you sure you want to end all sessions of %(user)s?") % {"user": owner},
            shown,
            total=listing.count(),
            has_own=listing.holds(own_session_id(request)),
        )
        if not question.is_answered(request):
            return self._ask(request, question)
        recorder = self._recorder(request, log.ALL_OF_USER)
        # First those that are known, so that the log has them before they end. Then any others,
        # such as those that signed in meanwhile.
        end = partial(registry.end_each_of, pk, reason="admin")
        rest = partial(recorder.record, [], end, pk)
        return self._end(request, question, chain(self._recorded(recorder, listing), [rest]))

    def _recorder(self, request: HttpRequest, way: str) -> log.Recorder:
        return log.Recorder(request, Viewer(request, self), way)

    def _recorded(self, recorder: log.Recorder, listing: "Listing") -> Iterator[Step]:
        """For each batch of ``listing``, what ends and logs it."""
        for batch in listing.batches():
            end = partial(registry.end_many, [session.pk for session in batch], reason="admin")
            yield partial(recorder.record, batch, end)

    def _end(self, request: HttpRequest, question: Question, steps: Iterable[Step]) -> HttpResponse:
        """Take ``steps``, one by one; say what was done, also where Redis fails before the end."""
        ended, last = 0, log.Outcome(0)
        try:
            for step in steps:
                last = step()
                ended += last.ended
                if last.failure is not None:
                    raise last.failure
            return self._done(request, question, ended)
        except SessionStoreUnavailable as error:
            return away(self, request, error, ended=ended, unknown=last.unknown, lost=last.is_lost)

    def _ask(self, request: HttpRequest, question: Question) -> HttpResponse:
        if not question.total:
            return self._done(request, question, 0)
        request.current_app = self.admin_site.name
        at = question.asked_at
        page_url = at and self._page_url(request, at)
        context = {
            **self.admin_site.each_context(request),
            "title": question.title,
            "subtitle": None,
            "opts": self.opts,
            "media": self.media,
            "question": question,
            "named": [Named(one, self._page_url(request, one)) for one in question.sessions],
            "shows_sessions": Viewer(request, self).sees_sessions,
            "asks_again": ASKED in request.POST,
            "back_url": page_url or self._list_url(request),
            **self._crumbs(request, question.title, at),
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
