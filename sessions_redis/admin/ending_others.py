"""Ends all sessions of the site in the admin, except the one that the staff member is using."""

from collections.abc import Iterator
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from sessions_redis import reasons, registry
from sessions_redis.admin import log
from sessions_redis.admin.ending import MAX_NAMED, EndingAdmin, Question, Step
from sessions_redis.admin.outage import with_failure_page
from sessions_redis.admin.viewers import Viewer, own_session_id

if TYPE_CHECKING:
    from sessions_redis.admin.listing import Listing


class EndingOthersAdmin(EndingAdmin):
    """The page that ends all sessions but one. It needs the permissions to view and to end them."""

    @with_failure_page
    def end_others_view(self, request: HttpRequest) -> HttpResponse:
        """Ask whether to end all other sessions, then end them."""
        if not self.may_end_others(request):
            raise PermissionDenied
        own_id = own_session_id(request)
        listing: Any = self.get_queryset(request)
        question = Question(
            _("End all sessions but mine"),
            _("Are you sure you want to end all sessions except the one that you are using?"),
            [one for one in listing[: MAX_NAMED + 1] if not one.is_own][:MAX_NAMED],
            total=listing.count() - listing.holds(own_id),
            has_own=False,
        )
        if not question.is_confirmed(request):
            return self._ask(request, question)
        recorder = self._recorder(request, log.ALL_OTHERS)
        # First the sessions in the listing, so that the log has their details. Then all others,
        # such as sessions that got a new key in the meantime.
        end = partial(registry.end_each, except_id=own_id, reason=reasons.ADMIN)
        rest = partial(recorder.end_and_log, [], end)
        return self._end(request, question, chain(self._others(recorder, listing), [rest]))

    def may_end_others(self, request: HttpRequest) -> bool:
        return Viewer(request, self).sees_sessions and self.has_delete_permission(request)

    def _others(self, recorder: log.Recorder, listing: "Listing") -> Iterator[Step]:
        # Sessions that begin meanwhile expire last, so they come last.
        for batch in listing.select(latest_first=False).batches(spared=1):
            others = [session for session in batch if not session.is_own]
            found = [session.live or session.pk for session in others]
            end = partial(registry.end_many, found, reason=reasons.ADMIN)
            yield partial(recorder.end_and_log, others, end)
