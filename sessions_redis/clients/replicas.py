"""
Waits until replicas have a write, so that a failover does not lose it: ``WAIT_REPLICAS``.

Redis answers a write before its replicas have it. If the master fails at that moment, the write is
lost: a new session is missing, and an ended session is back. The command ``WAIT`` travels behind
the write in the same round trip.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from sessions_redis import logs
from sessions_redis.clients.reports import without_credentials
from sessions_redis.conf import Conf
from sessions_redis.storage import commands
from sessions_redis.storage.steps import Command

# The part of the time to wait for a reply that the server may use to wait for its replicas. What is
# left is for the reply itself. Otherwise a slow replica would look like a server that is away.
PART = 0.5

# Seconds to wait if the site sets no limit for a reply.
WITHOUT_LIMIT = 1.0

log = logs.named("sessions_redis")


class Wait(NamedTuple):
    """``command`` waits until replicas have the writes before it, for ``seconds`` at most."""

    command: Command[int]
    seconds: float
    settings: Conf

    def report(self, reached: int | ResponseError, answers: Sequence[Any]) -> None:
        """
        Log a warning if too few replicas confirmed the writes, or if Redis refused to wait.

        ``answers``: those to the writes. The writes stand in any case.
        """
        if any(isinstance(answer, ResponseError) for answer in answers):
            return  # nothing was written
        where, wanted = self.settings.shown_location, self.settings.wait_replicas
        if isinstance(reached, ResponseError):
            log.warning(
                "Redis at %s refused to wait for replicas (WAIT_REPLICAS): %s. The change to the "
                "session is stored. Does its Redis user lack +wait?",
                where,
                without_credentials(reached),
            )
        elif reached < wanted:
            log.warning(
                "Only %d of %d replicas of Redis at %s confirmed a change to a session within %.3g "
                "seconds (WAIT_REPLICAS). The change is stored, but a failover now may lose it.",
                reached,
                wanted,
                where,
                self.seconds,
            )


def wait_after(writes: Sequence[Command[Any]], settings: Conf, pool: Any) -> Wait | None:
    """
    What to send behind ``writes``; ``None`` if none of them needs it.

    ``pool``: that of redis-py which they go through.
    """
    if settings.scheme in {"embedded", "memory"}:  # these servers have no replicas
        return None
    if not any(write.awaits_replicas for write in writes):
        return None
    limit = pool.connection_kwargs.get("socket_timeout")
    seconds = WITHOUT_LIMIT if limit is None else limit * PART
    return Wait(commands.wait(settings.wait_replicas, int(seconds * 1000) or 1), seconds, settings)
