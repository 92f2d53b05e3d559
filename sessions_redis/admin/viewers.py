"""Decides what a staff member may see about the users of sessions. The rule is only here."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.contrib.admin.utils import quote
from django.contrib.auth import get_permission_codename, get_user_model
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext as _

from sessions_redis.admin import users
from sessions_redis.models import Session, readable_pk
from sessions_redis.storage.commands import session_id

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin


class Viewer:
    """
    The staff member who sent a request to ``section``.

    A viewer sees the names and e-mail addresses only of users in their own list of users in the
    admin. Other users are called by their primary key, or "signed in" if the primary key is a user
    name or an e-mail address. These labels do not reveal whether the user still exists.
    """

    def __init__(self, request: HttpRequest, section: "ModelAdmin[Any]") -> None:
        self._request = request
        self._section = section

    @cached_property
    def sees_sessions(self) -> bool:
        """Whether this viewer may view sessions. If not, they may only end them."""
        return self._section.has_view_or_change_permission(self._request)

    @cached_property
    def _users(self) -> Any:
        """A queryset of the users that this viewer may see; ``None`` without the permission."""
        model: Any = get_user_model()
        site = self._section.admin_site
        if site.is_registered(model):
            list_of_users = site.get_model_admin(model)
            if list_of_users.has_view_or_change_permission(self._request):
                return list_of_users.get_queryset(self._request)
            return None
        names = [get_permission_codename(action, model._meta) for action in ("view", "change")]
        may = any(self._request.user.has_perm(f"{model._meta.app_label}.{one}") for one in names)
        return model._default_manager.all() if may else None

    @property
    def sees_users(self) -> bool:
        """Whether this viewer may see the names and e-mail addresses of some users."""
        return self._users is not None

    @cached_property
    def sees_all_users(self) -> bool:
        """Whether this viewer may see all users. Then a user that is not found was deleted."""
        return self.sees_users and not self._users.query.has_filters()

    @property
    def sees_primary_keys(self) -> bool:
        """Whether this viewer may see the primary key of any user."""
        return self.sees_all_users or not users.is_named_by_key()

    def users_of(self, pks: Iterable[str]) -> dict[str, Any]:
        """Return the users with these primary keys that this viewer may see, in one query."""
        return users.users_of(pks, self._users) if self.sees_users else {}

    def search(self, term: str) -> users.Matches:
        """Find users only by what this viewer may see of them."""
        among = self._users if self.sees_users else get_user_model()._default_manager.none()
        return users.search(term, among, by_key=self.sees_primary_keys)

    def user_label(self, pk: str, user: Any = None) -> str:
        """What to call the user with this primary key. ``user``: what `users_of` found for it."""
        if user is not None:
            return str(user.get_username())
        if self.sees_all_users:
            return _("%(pk)s (deleted)") % {"pk": readable_pk(pk)}
        return users.label_without_name(pk)

    def label_users(self, sessions: Sequence[Session]) -> None:
        """Set `user_label`, `user_url` and `is_own` of ``sessions``, with one query for users."""
        found = self.users_of(one.user_pk for one in sessions if one.user_pk is not None)
        own_id = own_session_id(self._request)
        for session in sessions:
            session.is_own = session.pk == own_id
            if not self.sees_sessions:
                session.user_label = ""
            elif session.user_pk is not None:
                user = found.get(session.user_pk)
                session.user_label = self.user_label(session.user_pk, user)
                session.user_url = None if user is None else self._url_of(user)

    def _url_of(self, user: Any) -> str | None:
        site = self._section.admin_site
        if not site.is_registered(type(user)):
            return None
        if not site.get_model_admin(type(user)).has_view_or_change_permission(self._request, user):
            return None
        name = f"admin:{user._meta.app_label}_{user._meta.model_name}_change"
        return reverse(name, args=[quote(user.pk)], current_app=site.name)


def own_session_id(request: HttpRequest) -> str:
    """The ID of this request's session. It matches no session if another engine stores sessions."""
    return session_id(request.session.session_key or "")
