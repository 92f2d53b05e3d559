"""Whose sessions they are: users of whatever model, by the primary keys that sessions hold."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.admin.utils import quote
from django.contrib.auth import get_user_model
from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db import connections, router
from django.db.models import IntegerField, Model, Q
from django.http import HttpRequest
from django.urls import reverse

from sessions_redis.commands import session_id
from sessions_redis.models import Session
from sessions_redis.registry import user_pk_of

# Users whose sessions are looked up in one search: each takes round trips of its own.
CAP = 50

# Characters of a text that may be a primary key: no database takes longer ones for keys.
LONGEST = 10_000

# What a field may raise for a text that is not one of its values. Fields of a site's own do not
# always make a ``ValidationError`` of that.
NOT_A_VALUE = (ValidationError, ValueError, TypeError, ArithmeticError)


@dataclass(frozen=True, slots=True)
class Matches:
    """The primary keys, in text, of users that were searched. ``capped``: there are more."""

    pks: tuple[str, ...]
    capped: bool = False


def users_of(pks: Iterable[str]) -> dict[str, Any]:
    """The users of these primary keys in text, in one query; what is of no user is left out."""
    model = get_user_model()
    values = [value for pk in set(pks) if (value := _pk_value(model, pk)) is not None]
    found = model._default_manager.filter(pk__in=values) if values else ()
    by_pk = {_pk_text(user): user for user in found}
    return {pk: user for pk, user in by_pk.items() if pk is not None}


def search(term: str) -> Matches:
    """
    Users whose name or e-mail address holds ``term``, and whoever has it as primary key.

    At most `CAP` by name or address. A primary key need not be any user's: the user may be
    deleted, and the sessions still there.
    """
    model = get_user_model()
    conditions = Q()
    for name in _searched(model):
        conditions |= Q(**{f"{name}__icontains": term})
    users = model._default_manager.filter(conditions).order_by("pk") if conditions else ()
    found = users[: CAP + 1]
    value = _pk_value(model, term)
    pks = [_pk_text(user) for user in [*([] if value is None else [model(pk=value)]), *found[:CAP]]]
    named = dict.fromkeys(pk for pk in pks if pk is not None)
    return Matches(tuple(named), capped=len(found) > CAP)


def introduce(sessions: Sequence[Session], request: HttpRequest, site: AdminSite) -> None:
    """Tell ``sessions`` whose they are, as far as who asks may know. One query for all users."""
    users = users_of(session.user_pk for session in sessions if session.user_pk is not None)
    own_id = own_session_id(request)
    for session in sessions:
        session.is_own = session.pk == own_id
        user = users.get(session.user_pk) if session.user_pk is not None else None
        if user is not None:
            session.user_name = user.get_username()
            session.user_url = _admin_url(user, request, site)


def own_session_id(request: HttpRequest) -> str:
    """The id of the session that asks; where sessions are kept elsewhere, the id of none."""
    return session_id(request.session.session_key or "")


def _admin_url(user: Any, request: HttpRequest, site: AdminSite) -> str | None:
    if not site.is_registered(type(user)):
        return None
    if not site.get_model_admin(type(user)).has_view_or_change_permission(request, user):
        return None
    name = f"admin:{user._meta.app_label}_{user._meta.model_name}_change"
    return reverse(name, args=[quote(user.pk)], current_app=site.name)


def _searched(model: type[Model]) -> Iterable[str]:
    """The fields to search, as far as the user model has them as fields of its own."""
    for name in {getattr(model, "USERNAME_FIELD", ""), getattr(model, "EMAIL_FIELD", "")}:
        try:
            field = model._meta.get_field(name)
        except FieldDoesNotExist:
            continue
        if not field.is_relation:
            yield name


def _pk_value(model: type[Model], text: str) -> Any:
    """The primary key that ``text`` stands for; ``None`` if it can be none."""
    field: Any = model._meta.pk
    while field.is_relation:
        field = field.target_field
    # What the database cannot hold would be an error there, not an absence. PostgreSQL refuses NUL.
    if "\x00" in text or len(text) > LONGEST:
        return None
    try:
        value = field.to_python(text)
        if isinstance(field, IntegerField):
            field.run_validators(value)
        field.get_db_prep_value(value, connections[router.db_for_read(model)])
    except NOT_A_VALUE:
        return None
    return value


def _pk_text(user: Any) -> str | None:
    """The primary key of ``user`` in text; ``None`` if its field cannot write that."""
    try:
        return user_pk_of(user)
    except NOT_A_VALUE:
        return None
