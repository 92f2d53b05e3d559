"""Checks of ``TOUCH_INTERVAL``, beside those of the value itself."""

from collections.abc import Iterator

from django.conf import settings
from django.core.checks import CheckMessage, Error

from sessions_redis.conf import Conf


def problems(current: Conf) -> Iterator[CheckMessage]:
    interval, age = current.touch_interval, settings.SESSION_COOKIE_AGE
    if interval > age / 2:
        yield Error(
            f'SESSION_REDIS["TOUCH_INTERVAL"] is {interval}, more than half of SESSION_COOKIE_AGE, '
            f"which is {age} seconds.",
            f"Write {age // 2} at most. A session can expire so many seconds earlier than "
            "SESSION_COOKIE_AGE says.",
            id="sessions_redis.E034",
        )
