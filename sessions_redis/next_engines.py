"""
The engine that ``SESSION_REDIS["NEXT_ENGINE"]`` names: its store, and why an engine cannot be it.
"""

from importlib import import_module

from django.contrib.sessions.backends.base import SessionBase
from django.core.exceptions import ImproperlyConfigured

HINT = (
    "Write the path of the engine that the site is to use after this one, such as "
    '"django.contrib.sessions.backends.db".'
)

_SIGNED_COOKIES = "django.contrib.sessions.backends.signed_cookies"

# Of each engine that cannot be the next one: why.
_REFUSED = {
    "sessions_redis.engine": "keeps sessions in Redis, where they are now",
    "sessions_redis.moving_out": "is the engine that moves sessions to the next one",
    _SIGNED_COOKIES: (
        "keeps the whole session in the visitor's cookie. It stores nothing under a session key, "
        "so no session can be moved to it, and a session that was copied into a cookie could "
        "never be ended"
    ),
}


def problem_of_path(path: str) -> tuple[str, str] | None:
    """What is wrong with this path, and a hint. Nothing is imported."""
    if not path:
        return "is empty", HINT
    why = _REFUSED.get(path.removesuffix(".SessionStore"))
    return (f"is {path!r}, which {why}", HINT) if why else None


def store_of(path: str) -> type[SessionBase]:
    """
    The ``SessionStore`` of the engine with this path.

    Raises ``ImproperlyConfigured`` if there is none, or if sessions cannot move there.
    """
    if not path:
        raise ImproperlyConfigured(
            'SESSION_ENGINE is "sessions_redis.moving_out", which needs '
            f'SESSION_REDIS["NEXT_ENGINE"]. {HINT}'
        )
    try:
        store = import_module(path).SessionStore
    except ImportError as error:
        raise ImproperlyConfigured(
            f'SESSION_REDIS["NEXT_ENGINE"] is {path!r}, which cannot be imported: {error}. {HINT}'
        ) from error
    except AttributeError as error:
        raise ImproperlyConfigured(
            f'SESSION_REDIS["NEXT_ENGINE"] is {path!r}, which has no SessionStore. {HINT}'
        ) from error
    if why := _why_refused(store):
        raise ImproperlyConfigured(f'SESSION_REDIS["NEXT_ENGINE"] is {path!r}, which {why}. {HINT}')
    return store  # type: ignore[no-any-return]


def _why_refused(store: object) -> str | None:
    """Why sessions cannot move to ``store``, which may inherit from a store that is refused."""
    if not isinstance(store, type) or not issubclass(store, SessionBase):
        return "has a SessionStore that does not inherit from Django's SessionBase"
    modules = [one.__module__ for one in store.__mro__]
    return next((_REFUSED[module] for module in modules if module in _REFUSED), None)
