"""The filters beside the list of sessions."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from sessions_redis.admin.viewers import Viewer

if TYPE_CHECKING:
    from sessions_redis.admin.listing import Listing

Choices = Iterable[tuple[str, Any]]

MINUTE, HOUR, DAY = 60, 3600, 86400


class ChoiceFilter(admin.SimpleListFilter):
    """A filter with fixed choices. Any other value in the URL is an error."""

    # For each choice, the arguments of `chosen`, which narrow the registry's `Selection`.
    selections: dict[str, dict[str, Any]]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        value = self.value()
        if value is None:
            return queryset
        if value not in self.selections:
            raise IncorrectLookupParameters(f"{self.parameter_name} has no choice {value!r}.")
        return self.chosen(queryset, self.selections[value])

    def chosen(self, listing: "Listing", changes: dict[str, Any]) -> "Listing":
        return listing.select(**changes)


class SignedInFilter(ChoiceFilter):
    title = _("visitor")
    parameter_name = "signed_in"
    selections = {"yes": {"signed_in": True}, "no": {"signed_in": False}}

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [
            ("yes", pgettext_lazy("visitor", "Signed in")),
            ("no", pgettext_lazy("visitor", "Anonymous")),
        ]


class ExpiryFilter(ChoiceFilter):
    title = _("expiry")
    parameter_name = "expires"
    selections = {"hour": {"within": HOUR}, "day": {"within": DAY}}

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [("hour", _("Within an hour")), ("day", _("Within a day"))]


class ActivityFilter(ChoiceFilter):
    title = _("activity")
    parameter_name = "active"
    selections = {
        "minutes": {"within": 5 * MINUTE},
        "hour": {"within": HOUR},
        "day": {"within": DAY},
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [
            ("minutes", _("Past 5 minutes")),
            ("hour", _("Past hour")),
            ("day", _("Past day")),
        ]

    def chosen(self, listing: "Listing", changes: dict[str, Any]) -> "Listing":
        return listing.by_activity(**changes)


class UserFilter(admin.SimpleListFilter):
    """Lists one user's sessions. It shows up only if a link or a URL chose a user."""

    title = _("user")
    parameter_name = "user"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        pk = self.value()
        if pk is None:
            return []
        viewer = Viewer(request, model_admin)
        if not viewer.sees_primary_keys:
            raise IncorrectLookupParameters("You do not have the permission to find users by name.")
        return [(pk, viewer.user_label(pk, viewer.users_of([pk]).get(pk)))]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        pk = self.value()
        listing: Listing = queryset
        return listing if pk is None else listing.of_users([pk])
