"""Finds the users of sessions by primary key, name or e-mail address, for any user model."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db import connections, router
from django.db.models import EmailField, IntegerField, Model, Q
from django.utils.translation import gettext as _

from sessions_redis.models import readable_pk
from sessions_redis.registry import user_pk_of

# The most users whose sessions one search reads. Each user takes more round trips.
MAX_USERS = 50

# The most characters of a text that may be a primary key. No database has longer ones.
LONGEST = 10_000

# Exceptions of a model field for a text that is not a valid value. A site's own fields may raise
# others than ``ValidationError``.
NOT_A_VALUE = (ValidationError, ValueError, TypeError, ArithmeticError)


@dataclass(frozen=True, slots=True)
class Matches:
    """The primary keys of the users that a search found, as text. ``capped``: more users match."""

    pks: tuple[str, ...]
    capped: bool = False


def users_of(pks: Iterable[str], among: Any = None) -> dict[str, Any]:
    """Return the users with these primary keys, in one query. Missing users are left out."""
    model = get_user_model()
    values = [value for pk in set(pks) if (value := _pk_value(model, pk)) is not None]
    found = _all(among).filter(pk__in=values) if values else ()
    by_pk = {key_of(user): user for user in found}
    return {pk: user for pk, user in by_pk.items() if pk is not None}


def search(term: str, among: Any = None, *, by_key: bool = True) -> Matches:
    """
    Find users whose name or e-mail address contains ``term``, or whose primary key it is.

    ``among``: the users to search; by default all. ``by_key``: whether to search primary keys.

    Returns at most `MAX_USERS` by name or address. It also returns a primary key that no user has:
    the user may have been deleted and still have sessions.
    """
    model = get_user_model()
    conditions = Q()
    for name in _searched(model):
        conditions |= Q(**{f"{name}__icontains": term})
    users = _all(among).filter(conditions).order_by("pk") if conditions else ()
    found = users[: MAX_USERS + 1]
    value = _pk_value(model, term) if by_key else None
    pks = [
        key_of(user) for user in [*([] if value is None else [model(pk=value)]), *found[:MAX_USERS]]
    ]
    named = dict.fromkeys(pk for pk in pks if pk is not None)
    return Matches(tuple(named), capped=len(found) > MAX_USERS)


def key_of(user: Any) -> str | None:
    """Return the primary key of ``user`` as text; ``None`` if its field cannot convert it."""
    try:
        return user_pk_of(user)
    except NOT_A_VALUE:
        return None


def is_named_by_key() -> bool:
    """Whether the primary key of the user model is the user name or the e-mail address."""
    field = _key_field(get_user_model())
    return isinstance(field, EmailField) or field.name in _names(field.model)


def label_without_name(pk: str) -> str:
    """What to call this user for staff who may not see the user's name."""
    if is_named_by_key():
        return _("signed in")
    return _("user %(pk)s") % {"pk": readable_pk(pk)}


def _all(among: Any) -> Any:
    return get_user_model()._default_manager if among is None else among


def _names(model: type[Model]) -> set[str]:
    """The fields of ``model`` with the user name and the e-mail address, if it has them."""
    return {getattr(model, "USERNAME_FIELD", ""), getattr(model, "EMAIL_FIELD", "")}


def _searched(model: type[Model]) -> Iterable[str]:
    """The fields to search. Fields that are not columns of the user model are left out."""
    for name in _names(model):
        try:
            field = model._meta.get_field(name)
        except FieldDoesNotExist:
            continue
        if not field.is_relation:
            yield name


def _key_field(model: type[Model]) -> Any:
    """The field with the primary key, which may be in a model that a relation points to."""
    field: Any = model._meta.pk
    while field.is_relation:
        field = field.target_field
    return field


def _pk_value(model: type[Model], text: str) -> Any:
    """Convert text to a primary key; ``None`` if it is not a valid one."""
    field = _key_field(model)
    # The database would raise an error for these, instead of finding nothing. PostgreSQL refuses
    # NUL.
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
