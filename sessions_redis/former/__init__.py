"""
The stores of other session engines, from which sessions move in, and to which they move out.

`of` returns the store of an engine. It knows the engines of Django, django-redis-sessions,
django-qsessions and django-user-sessions, and subclasses of them. It uses any other engine by its
public methods.
"""

from functools import cache
from importlib import import_module
from typing import Any

from django.contrib.sessions.backends import signed_cookies
from django.contrib.sessions.backends.base import SessionBase
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from sessions_redis.former.store import FormerSession, FormerStore, Found

__all__ = ["FormerSession", "FormerStore", "Found", "of", "refusal"]


@cache
def of(path: str) -> FormerStore:
    """
    The store of the session engine whose module is ``path``, such as
    ``"django.contrib.sessions.backends.db"``.

    Raises ``ImproperlyConfigured`` if there is a `refusal`.
    """
    if reason := refusal(path):
        raise ImproperlyConfigured(reason)
    return _made(path)


def refusal(path: str) -> str | None:
    """Why sessions cannot move between this engine and Redis; ``None`` if they can."""
    try:
        engine = import_module(path).SessionStore
    except (AttributeError, ImportError, RuntimeError, TypeError, ValueError) as error:
        return f"{path!r} is not the module of a session engine: {error}"
    if not (isinstance(engine, type) and issubclass(engine, SessionBase)):
        return f"{path!r} is not the module of a session engine."
    if issubclass(engine, signed_cookies.SessionStore):
        return (
            f"{path!r} keeps sessions in the visitors' cookies. Such a session has no key, and "
            "nothing is stored that could move."
        )
    if _is_ours(engine):
        return f"{path!r} is this engine itself, or a subclass of it."
    try:
        _made(path)
    except RuntimeError as error:  # its model is not in INSTALLED_APPS
        return f"The session engine {path!r} cannot be used: {error}"
    return None


def _is_ours(engine: type) -> bool:
    return any(base.__module__.partition(".")[0] == "sessions_redis" for base in engine.__mro__)


# For each class that an engine can be made from, what reads its sessions. No module is imported
# before it is needed: an engine without a table imports no models.
KINDS = {
    "django.contrib.sessions.backends.db": "database.DatabaseStore",
    "django.contrib.sessions.backends.cache": "caches.CacheStore",
    "django.contrib.sessions.backends.file": "files.FileStore",
    "user_sessions.backends.db": "database.UserSessionsStore",
    "redis_sessions.session": "redis_sessions.RedisSessionsStore",
}


def _made(path: str) -> FormerStore:
    engine: Any = import_module(path).SessionStore
    kinds = (KINDS[base.__module__] for base in engine.__mro__ if base.__module__ in KINDS)
    kind: type[FormerStore] = import_string(f"{__name__}.{next(kinds, 'other.OtherStore')}")
    return kind(path, engine)


def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting in {"DATABASES", "CACHES", "INSTALLED_APPS"} or setting.startswith("SESSION_"):
        of.cache_clear()


setting_changed.connect(_forget)
