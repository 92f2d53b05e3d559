"""
The stores of other session engines, from which sessions move in, and to which they move out.

`of` returns the store of an engine. It knows the engines of Django, django-redis-sessions,
django-qsessions and django-user-sessions, and subclasses of them. It uses any other engine by its
public methods.
"""

from functools import cache
from importlib import import_module
from typing import Any

from django.contrib.sessions.backends import cache as cache_engine
from django.contrib.sessions.backends import db, file, signed_cookies
from django.contrib.sessions.backends.base import SessionBase
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

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
    except (AttributeError, ImportError, RuntimeError, ValueError) as error:
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


def _made(path: str) -> FormerStore:
    engine: Any = import_module(path).SessionStore
    for base in engine.__mro__:
        if base is db.SessionStore:
            from sessions_redis.former.database import DatabaseStore  # noqa: PLC0415

            return DatabaseStore(path, engine)
        if base.__module__ == "user_sessions.backends.db":
            from sessions_redis.former.database import UserSessionsStore  # noqa: PLC0415

            return UserSessionsStore(path, engine)
        if base is cache_engine.SessionStore:
            from sessions_redis.former.caches import CacheStore  # noqa: PLC0415

            return CacheStore(path, engine)
        if base is file.SessionStore:
            raise NotImplementedError
    raise NotImplementedError


def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting in {"DATABASES", "CACHES", "INSTALLED_APPS"} or setting.startswith("SESSION_"):
        of.cache_clear()


setting_changed.connect(_forget)
