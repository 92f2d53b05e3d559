"""Hear of sessions that have ended, in any process of the site."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing
from dataclasses import dataclass

from django.core.exceptions import ImproperlyConfigured
from django.utils.asyncio import async_unsafe

from sessions_redis import conf
from sessions_redis.clients.subscriptions import alisten
from sessions_redis.storage import events
from sessions_redis.storage.keyspaces import Keyspace


@dataclass(frozen=True, slots=True)
class EndedSession:
    """
    A session that has ended. The attributes are those of the signal `session_ended`.

    ``user_pk``: the primary key of its user, as text; ``None`` if it was anonymous. ``tenant``: the
    tenant's key prefix; ``None`` if ``KEY_PREFIX`` is not a function.
    """

    id: str
    reason: str
    user_pk: str | None
    tenant: str | None


@dataclass(frozen=True, slots=True)
class MayHaveMissed:
    """
    Listening has begun, or has begun again. Sessions may have ended before, unheard.

    To know whether a session still lives, call `find` or `find_many`.
    """


async def _heard(keyspace: Keyspace) -> AsyncGenerator[EndedSession | MayHaveMissed, None]:
    async with aclosing(alisten(keyspace.ended_channel)) as messages:
        async for message in messages:
            if message is None:
                yield MayHaveMissed()
            elif (event := events.read(message)) is not None:
                yield EndedSession(event.id, event.reason, event.user or None, keyspace.tenant)


def aended() -> AsyncGenerator[EndedSession | MayHaveMissed, None]:
    """
    Yield each session that ends from now on, in whichever process.

    The first object is `MayHaveMissed`: from then on, it hears of every end. It goes on until it is
    closed. If the connection is lost, it connects again by itself, and yields another
    `MayHaveMissed`. Each call has a connection of its own, so share one among many consumers.

    With tenants, it hears of the tenant that is current at the call. A session that expires is not
    published. Raises ``ImproperlyConfigured`` if ``EVENTS`` is off, and `SessionStoreUnavailable`
    if the Redis user may not listen.
    """
    settings = conf.current()
    if not settings.events:
        raise ImproperlyConfigured(
            'Nobody can hear of ended sessions: SESSION_REDIS["EVENTS"] is off, so they are not '
            'published. Write "EVENTS": True.'
        )
    return _heard(settings.keyspace)


@async_unsafe("Call sessions_redis.registry.aended() where an event loop is running.")
def ended() -> Generator[EndedSession | MayHaveMissed, None, None]:
    """
    As `aended`, for synchronous code: it blocks the thread until the next session ends.

    It runs an event loop of its own. Where one is running already, Django's
    ``SynchronousOnlyOperation`` is raised.
    """
    return _waiting(aended())


def _waiting(
    heard: AsyncGenerator[EndedSession | MayHaveMissed, None],
) -> Generator[EndedSession | MayHaveMissed, None, None]:
    with asyncio.Runner() as runner:
        try:
            while True:
                yield runner.run(heard.__anext__())
        finally:
            runner.run(heard.aclose())
