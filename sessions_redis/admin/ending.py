"""
Ends sessions in the admin: one session, the selected sessions, or all sessions of a user.

Each of these pages checks the permission to delete, asks for confirmation, writes to the admin's
log, and shows how many sessions ended. Staff who end their own session must confirm twice, and are
signed out with Django's ``logout()``. Staff without the permission to view sessions see only the
IDs of sessions.
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

from sessions_redis import reasons, registry
from sessions_redis.admin import log
from sessions_redis.admin.columns import exactly
from sessions_redis.admin.history import HistoryAdmin
from sessions_redis.admin.outage import unavailable_page, with_failure_page
from sessions_redis.admin.viewers import Viewer, own_session_id
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.models import Session
from sessions_redis.web.devices import device_of

# The most sessions that a confirmation page lists.
MAX_NAMED = 100

# Ends a batch of sessions and writes the log for it.
Step = Callable[[], log.Outcome]

# Fields that the form sends: the staff member confirmed, and confirmed for their own session.
CONFIRMED, CONFIRMED_OWN = "post", "own"

TEMPLATE = "admin/sessions_redis/session/delete_confirmation.html"

if TYPE_CHECKING:
    from sessions_redis.admin.listing import Listing


@dataclass(frozen=True, slots=True)
class ConfirmationRow:
    """A session on a confirmation page. ``page``: its URL; ``""`` if the viewer may not see it."""

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
    What a confirmation page asks: whether to end some sessions.

    ``sessions``: the first of the sessions, ``total`` in all. ``has_own``: whether the viewer's
    own current session is one of them. ``hidden``: names and values of hidden fields of the form.
    ``asked_at``: the session from whose page the viewer came; ``None`` if from the list.
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

    def is_confirmed(self, request: HttpRequest) -> bool:
        """Whether the viewer confirmed, twice if their own session is one of the sessions."""
        return CONFIRMED in request.POST and (not self.has_own or CONFIRMED_OWN in request.POST)


class EndingAdmin(HistoryAdmin):
    """The pages and the action that end sessions."""

    actions = ("delete_selected",)

    @with_failure_page
    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Ask whether to end one session, then end it."""
        session = self.get_object(request, unquote(object_id))
        if not self.has_delete_permission(request, session):
            raise PermissionDenied
        if session is None:
            return self.redirect_from_ended(request, unquote(object_id))
        question = Question(
            _("End session"),
            _("Are you sure you want to end this session?"),
            [session],
            total=1,
            has_own=session.is_own,
            asked_at=session,
        )
        if not question.is_confirmed(request):
            return self._ask(request, question)

        def end() -> list[str]:
            # Empty if the session had already ended.
            return (
                [session.pk]
                if registry.end(session.live or session.pk, reason=reasons.ADMIN)
                else []
            )

        recorder = self._recorder(request, log.ALONE)
        return self._end(request, question, [partial(recorder.end_and_log, [session], end)])

    # This name makes it replace the admin's own action.
    @admin.action(
        permissions=["delete"], description=gettext_lazy("End selected %(verbose_name_plural)s")
    )
    def delete_selected(self, request: HttpRequest, queryset: Any) -> HttpResponse:
        """Ask whether to end the selected sessions (or those of all pages), then end them."""
        listing: Listing = queryset
        across, total = listing.ids is None, listing.count()
        question = Question(
            _("End sessions"),
            ngettext(
                "Are you sure you want to end the selected session?",
                "Are you sure you want to end the selected sessions?",
                total,
            ),
            list(listing[:MAX_NAMED]),
            total,
            has_own=listing.holds(own_session_id(request)),
            hidden=[
                ("action", "delete_selected"),
                ("select_across", str(int(across))),
                *[(ACTION_CHECKBOX_NAME, id) for id in listing.ids or [""]],
            ],
        )
        if not question.is_confirmed(request):
            return self._ask(request, question)
        recorder = self._recorder(request, log.SELECTED)
        return self._end(request, question, self._recorded(recorder, listing))

    @with_failure_page
    def end_all_view(self, request: HttpRequest, user_pk: str) -> HttpResponse:
        """
        Ask whether to end all sessions of a user, then end them.

        ``user_pk``: the user's primary key, quoted as in other URLs of the admin. The page shows
        whether the user has sessions, so it needs the permission to view sessions. If the primary
        key is a user name, it also needs the permission to view users.
        """
        viewer = Viewer(request, self)
        may_see = viewer.sees_sessions and viewer.sees_primary_keys
        if not may_see or not self.has_delete_permission(request):
            raise PermissionDenied
        pk = unquote(user_pk)
        listing: Any = self.get_queryset(request)
        listing = listing.of_users([pk])
        shown = list(listing[:MAX_NAMED])
        owner = shown[0].owner if shown else viewer.user_label(pk)
        question = Question(
            _("End all sessions of %(user)s") % {"user": owner},
            _("Are you sure you want to end all sessions of %(user)s?") % {"user": owner},
            shown,
            total=listing.count(),
            has_own=listing.holds(own_session_id(request)),
        )
        if not question.is_confirmed(request):
            return self._ask(request, question)
        recorder = self._recorder(request, log.ALL_OF_USER)
        # First the sessions in the listing, so that the log has their details. Then all others,
        # such as sessions that began in the meantime.
        end = partial(registry.end_each_of, pk, reason=reasons.ADMIN)
        rest = partial(recorder.end_and_log, [], end, pk)
        return self._end(request, question, chain(self._recorded(recorder, listing), [rest]))

    def _recorder(self, request: HttpRequest, way: str) -> log.Recorder:
        return log.Recorder(request, Viewer(request, self), way)

    def _recorded(self, recorder: log.Recorder, listing: "Listing") -> Iterator[Step]:
        """Yield, for each batch of ``listing``, a step that ends and logs it."""
        for batch in listing.batches():
            found = [session.live or session.pk for session in batch]
            end = partial(registry.end_many, found, reason=reasons.ADMIN)
            yield partial(recorder.end_and_log, batch, end)

    def _end(self, request: HttpRequest, question: Question, steps: Iterable[Step]) -> HttpResponse:
        """
        Run ``steps`` one by one, and show how many sessions ended.

        If Redis fails, the steps that are left do not run, and a page shows what was done.
        """
        ended, last = 0, log.Outcome(0)
        try:
            for step in steps:
                last = step()
                ended += last.ended
                if last.failure is not None:
                    raise last.failure
            return self._done(request, question, ended)
        except SessionStoreUnavailable as error:
            return unavailable_page(
                self, request, error, ended=ended, unknown=last.unknown, lost=last.is_lost
            )

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
            "named": [
                ConfirmationRow(one, self._page_url(request, one)) for one in question.sessions
            ],
            "shows_sessions": Viewer(request, self).sees_sessions,
            "asks_again": CONFIRMED in request.POST,
            "back_url": page_url or self._list_url(request),
            **self._breadcrumbs(request, question.title, at),
        }
        return TemplateResponse(request, self.delete_confirmation_template or TEMPLATE, context)

    def _done(self, request: HttpRequest, question: Question, ended: int) -> HttpResponse:
        url = self._list_url(request)
        if ended and question.has_own:
            logout(request)
        if ended:
            message = ngettext(
                "%(count)d session was ended.", "%(count)d sessions were ended.", ended
            ) % {"count": ended}
            self.message_user(request, message, messages.SUCCESS)
        else:
            self.message_user(
                request,
                _("There are no sessions left to end."),
                messages.WARNING,
            )
        return redirect(url)
