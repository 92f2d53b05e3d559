"""Checks of ``FORMER_ENGINE``: sessions that move in from another engine."""

from collections.abc import Iterator

from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 - Django's name

from sessions_redis import former
from sessions_redis.conf import Conf


def problems(settings: Conf) -> Iterator[CheckMessage]:
    refusal = former.refusal(settings.former_engine) if settings.former_engine else None
    if refusal:
        yield Error(
            f'SESSION_REDIS["FORMER_ENGINE"] cannot be used. {refusal}',
            "Write what SESSION_ENGINE was before, such as "
            '"django.contrib.sessions.backends.db". Leave it out if no sessions are to move in.',
            id="sessions_redis.E030",
        )
    if settings.former_engine_shared and not settings.former_engine:
        yield Warning(
            'SESSION_REDIS["FORMER_ENGINE_SHARED"] is True, but FORMER_ENGINE is not set, so it '
            "has no effect.",
            "Name the engine with which this one shares its sessions in FORMER_ENGINE, or leave "
            "FORMER_ENGINE_SHARED out.",
            id="sessions_redis.W031",
        )
