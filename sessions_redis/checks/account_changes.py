"""The check of ``END_ON_PASSWORD_CHANGE``, which needs the session middleware of this package."""

from collections.abc import Iterator

from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.utils.module_loading import import_string

from sessions_redis.conf import Conf
from sessions_redis.middleware import SessionMiddleware


def problems(current: Conf) -> Iterator[CheckMessage]:
    if current.end_on_password_change and not any(map(_is_own, settings.MIDDLEWARE)):
        yield Error(
            'SESSION_REDIS["END_ON_PASSWORD_CHANGE"] is True, but MIDDLEWARE does not have the '
            "session middleware of this package. Without it, users who change their password are "
            "signed out as well.",
            'In MIDDLEWARE, write "sessions_redis.middleware.SessionMiddleware" in place of '
            '"django.contrib.sessions.middleware.SessionMiddleware".',
            id="sessions_redis.E039",
        )


def _is_own(path: str) -> bool:
    try:
        middleware = import_string(path)
    except ImportError:  # Django reports it when it starts
        return False
    return isinstance(middleware, type) and issubclass(middleware, SessionMiddleware)
