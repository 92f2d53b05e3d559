"""What an error of redis-py is for a caller: `SessionStoreUnavailable`, which says what to do."""

from collections.abc import Callable

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    InvalidResponse,
    NoPermissionError,
    RedisError,
    ResponseError,
)

from sessions_redis.clients.connections import SurplusError
from sessions_redis.clients.garbage import GarbageError
from sessions_redis.clients.leases import NOT_SENT, NoneFreeError
from sessions_redis.clients.pools import RETRIED
from sessions_redis.conf import Conf
from sessions_redis.exceptions import SessionStoreUnavailable

# What the server answers to a command that it does not carry out. Some of these redis-py counts
# among the errors of connections.
REFUSED = (ResponseError, AuthenticationError, AuthorizationError, BusyLoadingError)


def failure(settings: Conf, error: RedisError) -> SessionStoreUnavailable:
    """
    Says what happened, the likely cause and the remedy, without the password of Redis.

    Its ``may_have_been_done`` is ``False`` where the command was not sent, or Redis refused it.
    """
    words = next(words for fits, words in _WORDS if fits(error))
    said = words.format(what=str(error).rstrip("."), prefix=settings.key_prefix)
    failed = SessionStoreUnavailable(f"Redis at {settings.shown_location} {said}")
    was_sent = NOT_SENT not in getattr(error, "__notes__", ())
    failed.may_have_been_done = was_sent and not isinstance(error, REFUSED)
    return failed


# The first that fits is what is said.
_WORDS: tuple[tuple[Callable[[RedisError], bool], str], ...] = (
    (
        # By a unix socket, redis-py's asynchronous connections tell it as a cause only.
        lambda error: any(isinstance(e, AuthenticationError) for e in (error, error.__cause__)),
        "does not let this site in: {what}. "
        'Are user and password in SESSION_REDIS["LOCATION"] right?',
    ),
    (
        lambda error: isinstance(error, NoneFreeError),
        "was not asked: all connections of this process are in use. "
        'Raise "max_connections" in SESSION_REDIS["OPTIONS"], or "timeout", the seconds to '
        "wait for one.",
    ),
    (
        lambda error: isinstance(error, SurplusError),
        "answered, but {what}, so none was used. A command that is sent once may have been carried "
        "out. Is there a proxy in between that sends replies twice?",
    ),
    (
        lambda error: (
            isinstance(error, GarbageError) or isinstance(error.__cause__, InvalidResponse)
        ),
        "sent something that is not a reply to the command: {what}. Another program answers at "
        "this address, or a proxy in between changes replies. Is "
        'SESSION_REDIS["LOCATION"] the address of a Redis server?',
    ),
    (
        lambda error: isinstance(error, RETRIED),
        'does not answer: {what}. Is it running, and is SESSION_REDIS["LOCATION"] its address?',
    ),
    (
        lambda error: "WRONGTYPE" in str(error),
        "holds something else under a name that is an index's: {what}. Look with TYPE which of "
        "{prefix}:index, …:index:signed-in, …:index:anonymous and …:user:<pk> is no zset, and "
        "delete that.",
    ),
    (
        lambda error: isinstance(error, NoPermissionError),
        "refused a command: {what}. Allow that user the commands and the keys that docs/redis.md "
        'names under "A restricted user".',
    ),
    (lambda error: True, "refused a command: {what}."),  # noqa: ARG005
)
