"""The check of ``BIND_TO`` that looks at the site's other settings."""

from collections.abc import Iterator

from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.utils.module_loading import import_string

from sessions_redis.conf import Conf
from sessions_redis.middleware import SessionMiddleware


def problems(current: Conf) -> Iterator[CheckMessage]:
    if current.bind_to and not any(map(_is_ours, settings.MIDDLEWARE)):
        yield Error(
            'SESSION_REDIS["BIND_TO"] has no effect, because MIDDLEWARE does not have '
            "sessions_redis.middleware.SessionMiddleware, which knows the visitor's address.",
            'Write "sessions_redis.middleware.SessionMiddleware" in place of '
            '"django.contrib.sessions.middleware.SessionMiddleware", or leave BIND_TO out.',
            id="sessions_redis.E038",
        )


def _is_ours(path: str) -> bool:
    try:
        middleware = import_string(path)
    except ImportError:  # the site does not start then
        return False
    return isinstance(middleware, type) and issubclass(middleware, SessionMiddleware)
