"""Whose sessions they are: users of whatever model, by the primary keys that sessions hold."""

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


def users_of(pks: Iterable[str], among: Any = None) -> dict[str, Any]:
    """The users of these primary keys in text, in one query; what is of no user is left out."""
    model = get_user_model()
    values = [value for pk in set(pks) if (value := _pk_value(model, pk)) is not None]
    found = _all(among).filter(pk__in=values) if values else ()
    by_pk = {key_of(user): user for user in found}
    return {pk: user for pk, user in by_pk.items() if pk is not None}


def search(term: str, among: Any = None, *, by_key: bool = True) -> Matches:
    """
    Users whose name or e-mail address holds ``term``, and whoever has it as primary key.

    ``among``: the users to look at; by default, all. ``by_key``: whether to look at primary keys.

    At most `CAP` by name or address. A primary key need not be any user's: the user may be
    deleted, and the sessions still there.
    """
    model = get_user_model()
    conditions = Q()
    for name in _searched(model):
        conditions |= Q(**{f"{name}__icontains": term})
    users = _all(among).filter(conditions).order_by("pk") if conditions else ()
    found = users[: CAP + 1]
    value = _pk_value(model, term) if by_key else None
    pks = [key_of(user) for user in [*([] if value is None else [model(pk=value)]), *found[:CAP]]]
    named = dict.fromkeys(pk for pk in pks if pk is not None)
    return Matches(tuple(named), capped=len(found) > CAP)


def key_of(user: Any) -> str | None:
    """The primary key of ``user`` in text; ``None`` if its field cannot write that."""
    try:
        return user_pk_of(user)
    except NOT_A_VALUE:
        return None


def is_named_by_key() -> bool:
    """Whether the primary key of a user is a name or an e-mail address."""
    field = _key_field(get_user_model())
    return isinstance(field, EmailField) or field.name in _names(field.model)


def unnamed(pk: str) -> str:
    """The user of this primary key in a word, for people who may not see the user's name."""
    if is_named_by_key():
        return _("signed in")
    return _("user %(pk)s") % {"pk": readable_pk(pk)}


def _all(among: Any) -> Any:
    return get_user_model()._default_manager if among is None else among


def _names(model: type[Model]) -> set[str]:
    """The fields of ``model`` that hold the names and e-mail addresses of users, if it has any."""
    return {getattr(model, "USERNAME_FIELD", ""), getattr(model, "EMAIL_FIELD", "")}


def _searched(model: type[Model]) -> Iterable[str]:
    """The fields to search, as far as the user model has them as fields of its own."""
    for name in _names(model):
        try:
            field = model._meta.get_field(name)
        except FieldDoesNotExist:
            continue
        if not field.is_relation:
            yield name


def _key_field(model: type[Model]) -> Any:
    """The field that holds the primary key, in whichever model that is."""
    field: Any = model._meta.pk
    while field.is_relation:
        field = field.target_field
    return field


def _pk_value(model: type[Model], text: str) -> Any:
    """The primary key that ``text`` stands for; ``None`` if it can be none."""
    field = _key_field(model)
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
