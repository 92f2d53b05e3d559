"""The URLs of the section's pages, and the links between them."""

from typing import TYPE_CHECKING, Any

import django
from django.contrib import admin
from django.contrib.admin.templatetags.admin_urls import add_preserved_filters
from django.contrib.admin.utils import quote
from django.http import HttpRequest
from django.urls import reverse
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from sessions_redis.models import Session

if TYPE_CHECKING:
    SessionModelAdmin = admin.ModelAdmin[Session]
else:
    SessionModelAdmin = admin.ModelAdmin


class LinksAdmin(SessionModelAdmin):
    """Makes URLs that keep the filters of the list, and breadcrumbs."""

    def _url(self, page: str, *args: str) -> str:
        name = f"admin:sessions_redis_session_{page}"
        return reverse(name, args=args, current_app=self.admin_site.name)

    def _list_url(self, request: HttpRequest) -> str:
        """
        Return the URL of the list with its filters.

        Staff who may end sessions but not view them see a form there instead of the list.
        """
        return self._filtered(request, self._url("changelist"))

    def _page_url(self, request: HttpRequest, session: Session) -> str:
        """The URL of a session's page; ``""`` if it has ended or the viewer may not see it."""
        if session.live is None or not self.has_view_or_change_permission(request, session):
            return ""
        return self._filtered(request, self._url("change", quote(session.pk)))

    def _filtered(self, request: HttpRequest, url: str) -> str:
        preserved: dict[str, Any] = {
            "preserved_filters": self.get_preserved_filters(request),
            "opts": self.opts,
        }
        return add_preserved_filters(preserved, url)

    def _breadcrumbs(
        self,
        request: HttpRequest,
        here: str,
        session: Session | None = None,
        *,
        lists: bool = True,
    ) -> dict[str, Any]:
        """
        Make the context of the template ``breadcrumbs.html``: links down to the page ``here``.

        ``session``: adds the page of this session. ``lists``: whether to add the list of sessions.
        An item with an empty URL is not a link.
        """
        site, app = self.admin_site.name, self.opts.app_config
        app_url = reverse("admin:app_list", args=[self.opts.app_label], current_app=site)
        crumbs = [
            (reverse("admin:index", current_app=site), _("Home")),
            (app_url, str(app.verbose_name)),
        ]
        if lists:
            crumbs.append((self._list_url(request), capfirst(str(self.opts.verbose_name_plural))))
        if session is not None:
            crumbs.append((self._page_url(request, session), str(session)))
        # Django 6.1 changed the markup of the admin's breadcrumbs to a list.
        return {"crumbs": [*crumbs, ("", here)], "crumbs_are_items": django.VERSION >= (6, 1)}
