"""
The only package that talks to Redis, beside `embedded`: it connects to every ``LOCATION`` and runs
commands.
"""

from collections.abc import Generator, Iterable, Sequence
from typing import Any, TypeVar

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    InvalidResponse,
    NoPermissionError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from sessions_redis.clients import pools
from sessions_redis.clients.exchange import Request, exchange, packed
from sessions_redis.clients.garbage import GarbageError
from sessions_redis.clients.leases import NONE_FREE, NOT_SENT
from sessions_redis.clients.outages import anoticed, noticed
from sessions_redis.clients.pools import RETRIED
from sessions_redis.clients.reports import without_frames
from sessions_redis.commands import Command
from sessions_redis.conf import Conf
from sessions_redis.exceptions import SessionStoreUnavailable

T = TypeVar("T")

# How often what was not carried out is sent again: to bring the script along, and to reach
# whichever server is the master now.
RESENT = 2

# A generator that yields commands, gets their answers and returns a result: how a rule that takes
# several round trips is written once for both worlds. It may yield a list of commands, too: they
# go out together, in one round trip, and a list of answers comes back.
Steps = Generator[Command[Any] | list[Command[Any]], Any, T]


def perform(steps: Steps[T]) -> T:
    """Run the commands that ``steps`` yields, and return its result."""
    try:
        asked = next(steps)
        while True:
            asked = steps.send(run_all(asked) if isinstance(asked, list) else run(asked))
    except StopIteration as stop:
        result: T = stop.value
        return result


async def aperform(steps: Steps[T]) -> T:
    """As `perform`, without blocking the running loop."""
    try:
        asked = next(steps)
        while True:
            asked = steps.send(
                await arun_all(asked) if isinstance(asked, list) else await arun(asked)
            )
    except StopIteration as stop:
        result: T = stop.value
        return result


def run(command: Command[T]) -> T:
    """
    Carry ``command`` out and return its answer.

    Raises `SessionStoreUnavailable` from the client's error when Redis is away or refuses.
    """
    answer: T = run_all((command,))[0]
    return answer


async def arun(command: Command[T]) -> T:
    """As `run`, on the connections of the running event loop."""
    answer: T = (await arun_all((command,)))[0]
    return answer


@noticed
def run_all(commands: Sequence[Command[Any]]) -> list[Any]:
    """Carry out ``commands`` in one round trip, one after the other, and return their answers."""
    ours = pools.current()
    try:
        replies = _replies(ours, commands, [command.parts for command in commands])
        for _ in range(RESENT):
            again = _not_done(replies)
            if not again:
                break
            missed = [commands[place] for place in again]
            sources = [command.with_source for command in missed]
            _fill_in(replies, again, _replies(ours, missed, sources))
        return [_answer(reply, command) for reply, command in zip(replies, commands, strict=True)]
    except RedisError as error:
        raise _failure(ours.conf, error) from without_frames(error)


@anoticed
async def arun_all(commands: Sequence[Command[Any]]) -> list[Any]:
    """As `run_all`, on the connections of the running event loop."""
    ours = pools.current()
    try:
        replies = await _areplies(ours, commands, [command.parts for command in commands])
        for _ in range(RESENT):
            again = _not_done(replies)
            if not again:
                break
            missed = [commands[place] for place in again]
            sources = [command.with_source for command in missed]
            _fill_in(replies, again, await _areplies(ours, missed, sources))
        return [_answer(reply, command) for reply, command in zip(replies, commands, strict=True)]
    except RedisError as error:
        raise _failure(ours.conf, error) from without_frames(error)


def _not_done(replies: Sequence[Any]) -> list[int]:
    """
    The places of commands that were not carried out, but may be if they are sent again.

    The server had not seen their script yet; or it had become a replica, and is not what a new
    connection reaches.
    """
    return [place for place, reply in enumerate(replies) if isinstance(reply, _NOT_DONE)]


_NOT_DONE = (NoScriptError, ReadOnlyError)


def _fill_in(replies: list[Any], places: Iterable[int], again: Sequence[Any]) -> None:
    for place, reply in zip(places, again, strict=True):
        replies[place] = reply


def _replies(
    ours: pools.Pools, commands: Sequence[Command[Any]], requests: list[Request]
) -> list[Any]:
    """The answers to ``requests``, which carry ``commands`` out; an error is an answer, too."""
    if not requests:
        return []
    reads = [command.read for command in commands]
    try:
        return exchange(ours.of_process(commands), packed(requests), reads)
    except RedisConnectionError:
        if not ours.can_revive(commands):
            raise
        return exchange(ours.of_process(commands), packed(requests), reads)


async def _areplies(
    ours: pools.Pools, commands: Sequence[Command[Any]], requests: list[Request]
) -> list[Any]:
    if not requests:
        return []
    reads = [command.read for command in commands]
    try:
        return await (await ours.of_loop(commands)).ask(requests, reads)
    except RedisConnectionError:
        if not ours.can_revive(commands):
            raise
        return await (await ours.of_loop(commands)).ask(requests, reads)


def _answer(reply: Any, command: Command[T]) -> T:
    if not isinstance(reply, ResponseError):
        answer: T = reply
        return answer
    # In a script's error the word stands after Redis 6.2's own introduction.
    if command.read_wrong_type is None or "WRONGTYPE" not in str(reply):
        raise reply
    return command.read_wrong_type()


def _failure(settings: Conf, error: RedisError) -> SessionStoreUnavailable:
    failure = _unavailable(settings, error)
    was_sent = NOT_SENT not in getattr(error, "__notes__", ())
    failure.may_have_been_done = was_sent and not isinstance(error, _REFUSED)
    return failure


# What the server answers to a command that it does not carry out. Some of these redis-py counts
# among the errors of connections.
_REFUSED = (ResponseError, AuthenticationError, AuthorizationError, BusyLoadingError)


def _unavailable(settings: Conf, error: RedisError) -> SessionStoreUnavailable:
    where, what = f"Redis at {settings.shown_location}", str(error).rstrip(".")
    # By a unix socket, redis-py's asynchronous connections tell it as a cause only.
    if isinstance(error, AuthenticationError) or isinstance(error.__cause__, AuthenticationError):
        return SessionStoreUnavailable(
            f"{where} does not let this site in: {what}. "
            'Are user and password in SESSION_REDIS["LOCATION"] right?'
        )
    if what == NONE_FREE.rstrip("."):  # a full pool has no class of its own
        return SessionStoreUnavailable(
            f"{where} was not asked: all connections of this process are in use. "
            'Raise "max_connections" in SESSION_REDIS["OPTIONS"], or "timeout", the seconds to '
            "wait for one."
        )
    if isinstance(error, GarbageError) or isinstance(error.__cause__, InvalidResponse):
        return SessionStoreUnavailable(
            f"{where} sent something that is no reply to the command: {what}. Something else than "
            "Redis answers at this address, or a proxy in between garbles replies. Is "
            'SESSION_REDIS["LOCATION"] the address of a Redis server?'
        )
    if isinstance(error, RETRIED):
        return SessionStoreUnavailable(
            f"{where} does not answer: {what}. "
            'Is it running, and is SESSION_REDIS["LOCATION"] its address?'
        )
    if "WRONGTYPE" in what:
        return SessionStoreUnavailable(
            f"{where} holds something else under a name that is an index's: {what}. Look with TYPE "
            f"which of {settings.key_prefix}:index, …:index:signed-in, …:index:anonymous and "
            "…:user:<pk> is no zset, and delete that."
        )
    if isinstance(error, NoPermissionError):
        return SessionStoreUnavailable(
            f"{where} refused a command: {what}. Allow that user the commands and the keys that "
            'docs/redis.md names under "A restricted user".'
        )
    return SessionStoreUnavailable(f"{where} refused a command: {what}.")
