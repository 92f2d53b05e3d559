"""Where the pages of the section are, and the ways between them."""

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


class WaysAdmin(SessionModelAdmin):
    """The part of the section that knows the addresses, and the way back."""

    def _url(self, page: str, *args: str) -> str:
        name = f"admin:sessions_redis_session_{page}"
        return reverse(name, args=args, current_app=self.admin_site.name)

    def _list_url(self, request: HttpRequest) -> str:
        """The list as it was filtered; for people who may only end sessions, the page for that."""
        return self._filtered(request, self._url("changelist"))

    def _page_url(self, request: HttpRequest, session: Session) -> str:
        """A session's page, with the way back; ``""`` if it has ended or is not to be seen."""
        if session.live is None or not self.has_view_or_change_permission(request, session):
            return ""
        return self._filtered(request, self._url("change", quote(session.pk)))

    def _filtered(self, request: HttpRequest, url: str) -> str:
        preserved: dict[str, Any] = {
            "preserved_filters": self.get_preserved_filters(request),
            "opts": self.opts,
        }
        return add_preserved_filters(preserved, url)

    def _crumbs(
        self,
        request: HttpRequest,
        here: str,
        session: Session | None = None,
        *,
        lists: bool = True,
    ) -> dict[str, Any]:
        """
        For the template of that name: the way to the page ``here`` as addresses and words.

        It leads by the list, unless ``here`` is the page in its place; and by the page of
        ``session``, if there is one. An empty address is no link.
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
        # The markup of the admin's own changed.
        return {"crumbs": [*crumbs, ("", here)], "crumbs_are_items": django.VERSION >= (6, 1)}
