"""What the list of sessions can be narrowed to, beside a search."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from sessions_redis.admin.viewers import Viewer

if TYPE_CHECKING:
    from sessions_redis.admin.listing import Listing

Choices = Iterable[tuple[str, Any]]

HOUR, DAY = 3600, 86400


class ChoiceFilter(admin.SimpleListFilter):
    """One of some choices. Any other value is as wrong as a lookup that does not exist."""

    # What each choice asks of the selection.
    selections: dict[str, dict[str, Any]]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        value = self.value()
        if value is None:
            return queryset
        if value not in self.selections:
            raise IncorrectLookupParameters(f"{self.parameter_name} cannot be {value!r}.")
        listing: Listing = queryset
        return listing.select(**self.selections[value])


class SignedInFilter(ChoiceFilter):
    title = _("visitor")
    parameter_name = "signed_in"
    selections = {"yes": {"signed_in": True}, "no": {"signed_in": False}}

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [("yes", _("Signed in")), ("no", _("Anonymous"))]


class ExpiryFilter(ChoiceFilter):
    title = _("expiry")
    parameter_name = "expires"
    selections = {"hour": {"within": HOUR}, "day": {"within": DAY}}

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [("hour", _("Within an hour")), ("day", _("Within a day"))]


class UserFilter(admin.SimpleListFilter):
    """One user's sessions. Links lead here; the user is there to be seen and taken off again."""

    title = _("user")
    parameter_name = "user"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        pk = self.value()
        if pk is None:
            return []
        viewer = Viewer(request, model_admin)
        if not viewer.sees_keys:
            raise IncorrectLookupParameters("Users are not looked up by their names.")
        return [(pk, viewer.called(pk, viewer.users_of([pk]).get(pk)))]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        pk = self.value()
        listing: Listing = queryset
        return listing if pk is None else listing.of_users([pk])
