"""
The only package that talks to Redis, beside `embedded`: it connects to every ``LOCATION`` and runs
commands.
"""

from collections.abc import Generator, Iterable, Sequence
from typing import Any, TypeVar

from redis import Connection
from redis.exceptions import AuthenticationError, NoScriptError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from sessions_redis.clients import pools
from sessions_redis.clients.leases import NONE_FREE, AsyncLeases, Leases
from sessions_redis.clients.pools import RETRIED
from sessions_redis.commands import Argument, Command
from sessions_redis.conf import Conf
from sessions_redis.exceptions import SessionStoreUnavailable

T = TypeVar("T")

Request = tuple[Argument, ...]

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


def run_all(commands: Sequence[Command[Any]]) -> list[Any]:
    """Carry out ``commands`` in one round trip, one after the other, and return their answers."""
    ours = pools.current()
    try:
        replies = _replies(ours, commands, [command.parts for command in commands])
        if unknown := _unknown(commands, replies):
            sources = [command.with_source for command in unknown.values()]
            _fill_in(replies, unknown, _replies(ours, commands, sources))
        return list(map(_answer, replies, commands))
    except RedisError as error:
        raise _unavailable(ours.conf, error) from error


async def arun_all(commands: Sequence[Command[Any]]) -> list[Any]:
    """As `run_all`, on the connections of the running event loop."""
    ours = pools.current()
    try:
        replies = await _areplies(ours, commands, [command.parts for command in commands])
        if unknown := _unknown(commands, replies):
            sources = [command.with_source for command in unknown.values()]
            _fill_in(replies, unknown, await _areplies(ours, commands, sources))
        return list(map(_answer, replies, commands))
    except RedisError as error:
        raise _unavailable(ours.conf, error) from error


def _unknown(commands: Sequence[Command[Any]], replies: Sequence[Any]) -> dict[int, Command[Any]]:
    """The commands whose script the server has not seen yet, by their place."""
    places = enumerate(replies)
    return {place: commands[place] for place, reply in places if isinstance(reply, NoScriptError)}


def _fill_in(replies: list[Any], places: Iterable[int], again: Sequence[Any]) -> None:
    for place, reply in zip(places, again, strict=True):
        replies[place] = reply


def _replies(
    ours: pools.Pools, commands: Sequence[Command[Any]], requests: list[Request]
) -> list[Any]:
    """What the server answers to ``requests``, which carry ``commands`` out; errors are answers."""
    if not requests:
        return []
    try:
        return _exchange(ours.of_process(commands), requests)
    except RedisConnectionError:
        if not ours.can_revive(commands):
            raise
        return _exchange(ours.of_process(commands), requests)


async def _areplies(
    ours: pools.Pools, commands: Sequence[Command[Any]], requests: list[Request]
) -> list[Any]:
    if not requests:
        return []
    try:
        return await _aexchange(await ours.of_loop(commands), requests)
    except RedisConnectionError:
        if not ours.can_revive(commands):
            raise
        return await _aexchange(await ours.of_loop(commands), requests)


# A request goes straight to a connection: what Redis.execute_command does around that (callbacks
# on replies, metrics) takes a fifth of a round trip on loopback.


def _exchange(leases: Leases, requests: list[Request]) -> list[Any]:
    packed = _packed(requests)
    lease = leases.take()
    connection = lease.connection

    def ask() -> list[Any]:
        connection.send_packed_command(packed)
        return [reply() for _ in requests]

    def reply() -> Any:
        try:
            return connection.read_response()
        except ResponseError as error:
            return error

    try:
        replies: list[Any] = connection.retry.call_with_retry(
            ask, lambda _: connection.disconnect()
        )
    except BaseException:
        # What nobody read would be taken for the next request's reply.
        connection.disconnect()
        raise
    finally:
        leases.give(lease)
    return replies


# Never connected: it only puts requests into bytes. That of the plain world serves both, because
# redis-py's asynchronous connections make no use of hiredis for that.
_packer: Any = Connection()  # type: ignore[no-untyped-call]  # redis-py's


def _packed(requests: list[Request]) -> list[bytes]:
    # In one piece: redis-py would send a piece for every 6,000 bytes.
    if len(requests) == 1:
        return [b"".join(_packer.pack_command(*requests[0]))]
    return [b"".join(_packer.pack_commands(requests))]


async def _aexchange(leases: AsyncLeases, requests: list[Request]) -> list[Any]:
    packed = _packed(requests)
    lease = await leases.take()
    connection = lease.connection

    async def ask() -> list[Any]:
        await connection.send_packed_command(packed)
        return [await reply() for _ in requests]

    async def reply() -> Any:
        try:
            return await connection.read_response()
        except ResponseError as error:
            return error

    try:
        replies: list[Any] = await connection.retry.call_with_retry(
            ask, lambda _: connection.disconnect()
        )
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    finally:
        leases.give(lease)
    return replies


def _answer(reply: Any, command: Command[T]) -> T:
    if not isinstance(reply, ResponseError):
        return command.read(reply)
    # In a script's error the word stands after Redis 6.2's own introduction.
    if command.read_wrong_type is None or "WRONGTYPE" not in str(reply):
        raise reply
    return command.read_wrong_type()


def _unavailable(settings: Conf, error: RedisError) -> SessionStoreUnavailable:
    where, what = f"Redis at {settings.shown_location}", str(error).rstrip(".")
    if isinstance(error, AuthenticationError):
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
    if isinstance(error, RETRIED):
        return SessionStoreUnavailable(
            f"{where} does not answer: {what}. "
            'Is it running, and is SESSION_REDIS["LOCATION"] its address?'
        )
    return SessionStoreUnavailable(f"{where} refused a command: {what}.")
