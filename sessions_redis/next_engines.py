"""The engine that ``SESSION_REDIS["NEXT_ENGINE"]`` names, and why some engines are refused."""

from importlib import import_module

from django.contrib.sessions.backends.base import SessionBase
from django.core.exceptions import ImproperlyConfigured

HINT = (
    "Write the path of the engine that the site is to use after this one, such as "
    '"django.contrib.sessions.backends.db".'
)

# Of each engine that cannot be the next one: why.
REFUSED = {
    "sessions_redis.engine": "keeps sessions in Redis, where they are now",
    "sessions_redis.moving_out": "is the engine that moves sessions to the next one",
    "django.contrib.sessions.backends.signed_cookies": (
        "keeps each session in the visitor's cookie. It has no session keys, so it cannot find a "
        "session by the cookie that visitors have now"
    ),
}


def problem_of_path(path: str) -> tuple[str, str] | None:
    """What is wrong with this path, and a hint. Nothing is imported."""
    if not path:
        return "is empty", HINT
    why = REFUSED.get(path)
    return (f"is {path!r}, which {why}", HINT) if why else None


def store_of(path: str) -> type[SessionBase]:
    """
    The ``SessionStore`` of the engine with this path. An empty path: the setting is missing.

    Raises ``ImproperlyConfigured`` if there is none, or if sessions cannot move there.
    """
    from sessions_redis import former  # noqa: PLC0415 - imports engines, and this reads settings

    if not path:
        raise ImproperlyConfigured(
            'SESSION_ENGINE is "sessions_redis.moving_out", but SESSION_REDIS has no '
            f'"NEXT_ENGINE". {HINT}'
        )
    if reason := former.refusal(path):
        raise ImproperlyConfigured(
            f'SESSION_REDIS["NEXT_ENGINE"] cannot be used: {reason.removesuffix(".")}. {HINT}'
        )
    store: type[SessionBase] = import_module(path).SessionStore
    return store
