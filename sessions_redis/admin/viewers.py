"""Who looks at the section, and what may be shown to them about users: the rule is here alone."""

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
    The member of staff who sent a request to ``section``.

    A viewer sees the names and e-mail addresses of those users whom the admin's own list of users
    shows to this viewer, and of nobody else. Other users go by their primary keys; where that is
    a name itself, by "signed in". These words do not depend on whether there is such a user.
    """

    def __init__(self, request: HttpRequest, section: "ModelAdmin[Any]") -> None:
        self._request = request
        self._section = section

    @cached_property
    def sees_sessions(self) -> bool:
        """Whether this viewer may look at sessions, and not only end them."""
        return self._section.has_view_or_change_permission(self._request)

    @cached_property
    def _users(self) -> Any:
        """The users that this viewer sees, as a queryset; ``None`` without the permission."""
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
        """Whether this viewer sees the names and e-mail addresses of some users."""
        return self._users is not None

    @cached_property
    def sees_all_users(self) -> bool:
        """Whether a user whom this viewer does not see does not exist."""
        return self.sees_users and not self._users.query.has_filters()

    @property
    def sees_keys(self) -> bool:
        """Whether this viewer may know any user's primary key."""
        return self.sees_all_users or not users.is_named_by_key()

    def users_of(self, pks: Iterable[str]) -> dict[str, Any]:
        """The users of these primary keys whom this viewer sees, in one query."""
        return users.users_of(pks, self._users) if self.sees_users else {}

    def search(self, term: str) -> users.Matches:
        """The users that ``term`` finds by what this viewer sees of them, and by nothing else."""
        among = self._users if self.sees_users else get_user_model()._default_manager.none()
        return users.search(term, among, by_key=self.sees_keys)

    def called(self, pk: str, user: Any = None) -> str:
        """The user of this primary key in a word; ``user`` is the one that `users_of` found."""
        if user is not None:
            return str(user.get_username())
        if self.sees_all_users:
            return _("%(pk)s (deleted)") % {"pk": readable_pk(pk)}
        return users.unnamed(pk)

    def introduce(self, sessions: Sequence[Session]) -> None:
        """Tell ``sessions`` how to call their users for this viewer. One query for all users."""
        found = self.users_of(one.user_pk for one in sessions if one.user_pk is not None)
        own_id = own_session_id(self._request)
        for session in sessions:
            session.is_own = session.pk == own_id
            if not self.sees_sessions:
                session.whose = ""
            elif session.user_pk is not None:
                user = found.get(session.user_pk)
                session.whose = self.called(session.user_pk, user)
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
    """The id of the session that asks; where sessions are kept elsewhere, the id of none."""
    return session_id(request.session.session_key or "")
