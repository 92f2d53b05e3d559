"""What an error of redis-py is for a caller: `SessionStoreUnavailable`, which says what to do."""

import re
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

from sessions_redis import locations
from sessions_redis.clients.connections import SurplusError
from sessions_redis.clients.garbage import SIGNING_IN, GarbageError
from sessions_redis.clients.leases import NOT_SENT, NoFreeConnectionError
from sessions_redis.clients.pools import RETRIED
from sessions_redis.conf import Conf, is_testing
from sessions_redis.exceptions import SessionStoreUnavailable

# What the server answers to a command that it does not carry out. Some of these redis-py counts
# among the errors of connections.
REFUSALS = (ResponseError, AuthenticationError, AuthorizationError, BusyLoadingError)

# The options that give redis-py a password.
PASSWORD_OPTIONS = {"username", "password", "credential_provider"}

# Tests use other keys than the site, so their Redis user needs more.
_FOR_TESTS = ' For tests, see docs/testing.md, "A restricted Redis user", too.'

# A command that some servers do not know, and the remedy.
HELLO = (
    "the command HELLO, which redis-py sends first from its version 8 on. To do without it, set "
    '"protocol": 2 in SESSION_REDIS["OPTIONS"].'
)


def store_unavailable(settings: Conf, error: RedisError) -> SessionStoreUnavailable:
    """
    Says what happened, the likely cause and the remedy, without the password of Redis.

    Its ``may_have_been_done`` is ``False`` where the command was not sent, or Redis refused it.
    """
    words = next(words for fits, words in _EXPLANATIONS if fits(error))
    said = words.format(
        what=str(error).rstrip(".?"),
        prefix=settings.key_prefix,
        credentials=_advice_on_credentials(settings, error),
        for_tests=_FOR_TESTS if is_testing() else "",
    )
    failed = SessionStoreUnavailable(f"Redis at {settings.shown_location} {said}")
    was_sent = NOT_SENT not in getattr(error, "__notes__", ())
    failed.may_have_been_done = was_sent and not isinstance(error, REFUSALS)
    return failed


def _advice_on_credentials(settings: Conf, error: RedisError) -> str:
    in_location = locations.has_credentials(settings.location)
    in_options = PASSWORD_OPTIONS & (settings.options or {}).keys()
    if "Authentication required" in str(error) and (in_location or in_options):
        return f"It was given a password, so it may not know {HELLO}"
    if in_location:
        return f'Are user and password in SESSION_REDIS["LOCATION"] right? {locations.ENCODE}'
    return 'Are user and password right? Write them into SESSION_REDIS["OPTIONS"].'


def _while_signing_in(error: RedisError, *words: str) -> bool:
    """Whether ``error`` has one of ``words`` and came up before the first command."""
    # By a unix socket, redis-py's asynchronous connections sign in by themselves, and name the
    # refused command only in the cause.
    is_early = SIGNING_IN in getattr(error, "__notes__", ()) or (
        isinstance(error.__cause__, ResponseError)
    )
    return is_early and bool(re.search("|".join(words), str(error), re.IGNORECASE))


# The first that fits is what is said.
_EXPLANATIONS: tuple[tuple[Callable[[RedisError], bool], str], ...] = (
    (
        # By a unix socket, redis-py's asynchronous connections tell it as a cause only.
        lambda error: any(isinstance(e, AuthenticationError) for e in (error, error.__cause__)),
        "does not let this site in: {what}. {credentials}",
    ),
    (
        lambda error: isinstance(error, NoPermissionError),
        "refused a command: {what}. Allow that user the commands and the keys that docs/redis.md "
        'names under "A restricted user".{for_tests}',
    ),
    (
        lambda error: _while_signing_in(error, "HELLO", "NOPROTO"),
        f"refused {HELLO} (It said: {{what}}.)",
    ),
    (
        lambda error: _while_signing_in(error, "closed", "reset"),
        "does not answer: {what} while redis-py signed in. If it takes TLS alone, write rediss:// "
        f"in LOCATION. If it is a proxy, it may not know {HELLO}",
    ),
    (
        lambda error: _while_signing_in(error, "DB index", "SELECT"),
        "does not give this site the database that LOCATION names: {what}. Some servers have "
        'database 0 alone: end SESSION_REDIS["LOCATION"] in /0, or raise "databases" in the '
        "server's configuration.",
    ),
    (
        lambda error: _while_signing_in(error, "CLIENT", "SETNAME"),
        'refused the client\'s name: {what}. Leave "client_name" out of SESSION_REDIS["LOCATION"] '
        'and "OPTIONS".',
    ),
    (
        lambda error: isinstance(error, NoFreeConnectionError),
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
    (lambda error: True, "refused a command: {what}."),  # noqa: ARG005
)
