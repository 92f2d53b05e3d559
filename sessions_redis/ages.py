"""How long a session may live at most, as ``ABSOLUTE_AGE`` says: for all, or per user."""

from datetime import timedelta
from math import ceil
from typing import Any

from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured, ValidationError

from sessions_redis import callables, conf
from sessions_redis.calls import Call, Store, StoreSteps
from sessions_redis.problems import is_age
from sessions_redis.storage.commands import MAX_TTL
from sessions_redis.storage.rules import NEVER


def age_for(user: Any) -> str:
    """
    How long a session of this user may live: ms in text, or `NEVER`.

    Raises ``ImproperlyConfigured`` if the site's function returns anything else than a time.
    """
    setting = conf.current().absolute_age
    if not isinstance(setting, str):
        return text_of(setting)
    age = callables.named(setting)(user)
    if not is_age(age):
        raise ImproperlyConfigured(
            f'The function of SESSION_REDIS["ABSOLUTE_AGE"], {setting}, returned {age!r}. It must '
            "return a number of seconds above 0, a timedelta, or None for no limit."
        )
    return text_of(age)


def text_of(age: float | timedelta | None) -> str:
    if age is None:
        return NEVER
    seconds = age.total_seconds() if isinstance(age, timedelta) else age
    return str(ceil(min(seconds, MAX_TTL) * 1000))


def age_for_pk(user_pk: str) -> str:
    """As `age_for`, for the user with this primary key, or without one. May query the database."""
    return age_for(_user(user_pk) if user_pk and is_per_user() else None)


def _user(user_pk: str) -> Any:
    from django.contrib.auth import get_user_model  # noqa: PLC0415 - it imports models

    model = get_user_model()
    try:
        return model._default_manager.filter(pk=user_pk).first()
    except (ValueError, ValidationError):  # no primary key of a user looks like this
        return None


def is_per_user() -> bool:
    return isinstance(conf.current().absolute_age, str)


class Asking(Call):
    """Calls the site's function. In asynchronous code, the function runs in a thread."""

    __slots__ = ()

    def of(self, _store: Store) -> str:
        return age_for_pk(*self.args)

    async def aof(self, store: Store) -> str:
        return await sync_to_async(self.of)(store)


def asked(user_pk: str) -> StoreSteps[str]:
    if not is_per_user():
        return age_for(None)
    age: str = yield Asking("age_for_pk", user_pk)
    return age
