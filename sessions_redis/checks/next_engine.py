"""Whether sessions can move to the engine that ``SESSION_REDIS["NEXT_ENGINE"]`` names."""

from collections.abc import Iterator

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error
from django.core.exceptions import ImproperlyConfigured

from sessions_redis import conf, next_engines

MOVING_OUT = "sessions_redis.moving_out"


def problems() -> Iterator[CheckMessage]:
    path = conf.current().next_engine
    if settings.SESSION_ENGINE == MOVING_OUT:
        try:
            next_engines.store_of(path)
        except ImproperlyConfigured as error:
            yield Error(
                str(error),
                "docs/moving-out.md has the steps. An engine that uses the database needs its app "
                'in INSTALLED_APPS, such as "django.contrib.sessions", and `manage.py migrate`.',
                id="sessions_redis.E032",
            )
    elif path:
        yield checks.Warning(
            f'SESSION_REDIS["NEXT_ENGINE"] is set, but SESSION_ENGINE is '
            f"{settings.SESSION_ENGINE!r}. So no session moves.",
            f'To move sessions out of Redis, write SESSION_ENGINE = "{MOVING_OUT}". Otherwise '
            "leave NEXT_ENGINE out.",
            id="sessions_redis.W033",
        )
