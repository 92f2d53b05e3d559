"""The page of the largest sessions, among a sample."""

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from sessions_redis import conf, registry
from sessions_redis.admin.links import LinksAdmin
from sessions_redis.admin.outage import with_failure_page
from sessions_redis.admin.viewers import Viewer
from sessions_redis.models import Session
from sessions_redis.registry import statistics

# How many sessions the page measures. More would take the server too long.
SAMPLE = 1000


class LargestAdmin(LinksAdmin):
    """Shows which sessions take most memory."""

    @with_failure_page
    def largest_view(self, request: HttpRequest) -> HttpResponse:
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        measured = statistics.measure(SAMPLE)
        size_of = {one.id: one.bytes for one in measured.largest}
        sessions = [Session.of(live) for live in registry.find_many(list(size_of))]
        Viewer(request, self).label_users(sessions)
        rows = [(one, self._page_url(request, one), size_of[one.pk]) for one in sessions]
        request.current_app = self.admin_site.name
        title = _("Largest sessions")
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "subtitle": None,
            "opts": self.opts,
            "media": self.media,
            "rows": sorted(rows, key=lambda row: -row[2]),
            "sampled": measured.sampled,
            "is_sample": measured.live > measured.sampled,
            "is_known": measured.bytes_per_session is not None or not measured.live,
            "limit": conf.current().max_session_bytes,
            **self._breadcrumbs(request, title),
        }
        return TemplateResponse(request, "admin/sessions_redis/session/largest.html", context)
