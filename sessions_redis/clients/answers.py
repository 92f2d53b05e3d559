"""Runs commands on one server, and sends a command again that the server did not run."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, NoScriptError, ResponseError

from sessions_redis.clients import replicas
from sessions_redis.clients.exchange import Request, exchange, is_refusal_of_replica, packed
from sessions_redis.clients.origins import kind_of, note_origin
from sessions_redis.storage.steps import Command

if TYPE_CHECKING:
    from sessions_redis.clients.pools import Pools

T = TypeVar("T")

Commands = Sequence[Command[Any]]

# How often a command is sent again if the server did not run it. There can be two reasons, one
# after the other: the server does not know the script yet, and it has become a replica.
MAX_RESENDS = 2

# Sent before a command, lets a node of a Cluster run it for a slot that it is about to receive.
ASKING: Request = ("ASKING",)


def answers(ours: "Pools", commands: Commands) -> list[Any]:
    """The answers to ``commands``, through ``ours``. Raises the errors of redis-py."""
    found = replies(ours, commands, [command.parts for command in commands])
    if not has_error(found):  # as mostly, and the rest takes longer
        return found
    for _ in range(MAX_RESENDS):
        again = _places_to_resend(found)
        if not again:
            break
        missed = [commands[place] for place in again]
        sources = [command.with_source for command in missed]
        _put_in_place(found, again, replies(ours, missed, sources))
    return [answer(reply, command) for reply, command in zip(found, commands, strict=True)]


async def aanswers(ours: "Pools", commands: Commands) -> list[Any]:
    """As `answers`, without blocking the running loop."""
    found = await areplies(ours, commands, [command.parts for command in commands])
    if not has_error(found):  # as mostly, and the rest takes longer
        return found
    for _ in range(MAX_RESENDS):
        again = _places_to_resend(found)
        if not again:
            break
        missed = [commands[place] for place in again]
        sources = [command.with_source for command in missed]
        _put_in_place(found, again, await areplies(ours, missed, sources))
    return [answer(reply, command) for reply, command in zip(found, commands, strict=True)]


def has_error(replies: Sequence[Any]) -> bool:
    for reply in replies:  # noqa: SIM110 - any() takes twice as long
        if isinstance(reply, ResponseError):
            return True
    return False


def _places_to_resend(replies: Sequence[Any]) -> list[int]:
    """
    The places in ``replies`` of commands that did not run, and may run if they are sent again.

    Either the server did not know the script yet, or it has become a replica. In the second case a
    new connection reaches the new master.
    """
    return [
        place
        for place, reply in enumerate(replies)
        if isinstance(reply, NoScriptError) or is_refusal_of_replica(reply)
    ]


def _put_in_place(replies: list[Any], places: Iterable[int], again: Sequence[Any]) -> None:
    for place, reply in zip(places, again, strict=True):
        replies[place] = reply


def replies(
    ours: "Pools",
    commands: Commands,
    requests: list[Request],
    meanwhile: Callable[[], None] | None = None,
) -> list[Any]:
    """
    The answers to ``requests``, which run ``commands``. An error of the server is an answer.

    ``requests`` can send a script's hash or its source, so they are not taken from ``commands``.
    ``meanwhile``: see `exchange`.
    """
    if not requests:
        return []
    reads = [command.read for command in commands]
    leases, wait = ours.leases_for(commands), None
    if ours.conf.wait_replicas:
        wait = replicas.wait_after(commands, ours.conf, leases.pool)
    if wait:
        requests, reads = [*requests, wait.command.parts], [*reads, wait.command.read]
    try:
        found = exchange(leases, packed(requests), reads, meanwhile)
    except RedisConnectionError:
        if not ours.restart_embedded_server(commands):
            raise
        found = exchange(ours.leases_for(commands), packed(requests), reads)
    if wait:
        wait.report(found.pop(), found)
    return found


async def areplies(ours: "Pools", commands: Commands, requests: list[Request]) -> list[Any]:
    """As `replies`, without blocking the running loop."""
    if not requests:
        return []
    reads = [command.read for command in commands]
    pipeline, wait = await ours.pipeline_for(commands), None
    if ours.conf.wait_replicas:
        wait = replicas.wait_after(commands, ours.conf, pipeline.leases.pool)
    if wait:
        # Two requests have an exchange of their own, so no other task waits for replicas.
        requests, reads = [*requests, wait.command.parts], [*reads, wait.command.read]
    try:
        found = await pipeline.ask(requests, reads)
    except RedisConnectionError:
        if not ours.restart_embedded_server(commands):
            raise
        found = await (await ours.pipeline_for(commands)).ask(requests, reads)
    if wait:
        wait.report(found.pop(), found)
    return found


def asking(commands: Commands, requests: list[Request]) -> tuple[list[Command[Any]], list[Request]]:
    """``commands`` and ``requests``, each behind the word that a node of a Cluster needs for it."""
    allowed = [part for command in commands for part in (_ASK, command)]
    return allowed, [part for request in requests for part in (ASKING, request)]


def _same(reply: Any) -> Any:
    return reply


_ASK: Command[Any] = Command(ASKING, _same)


def without_asking(found: list[Any]) -> list[Any]:
    """The answers to the requests that `asking` returned, without those to the word."""
    return [
        allowed if isinstance(allowed, ResponseError) else reply
        for allowed, reply in zip(found[::2], found[1::2], strict=True)
    ]


def answer(reply: Any, command: Command[T]) -> T:
    """What ``reply`` means for ``command``. Raises it if it is an error that means nothing."""
    if not isinstance(reply, ResponseError):
        found: T = reply
        return found
    # In the error of a script, Redis 6.2 puts words of its own before this one.
    if command.read_wrong_type is not None and "WRONGTYPE" in str(reply):
        return command.read_wrong_type()
    if command.read_refusal is not None and _is_refusal_of_command(reply):
        return command.read_refusal(str(reply))
    note_origin(reply, kind=kind_of(command))
    raise reply


def _is_refusal_of_command(error: ResponseError) -> bool:
    """
    Whether the user may not run the command, or the server does not know it.

    Errors about the state of the server, such as BUSY, start with a word in capitals. redis-py
    removes this word from refusals, where it is ERR or NOPERM.
    """
    return isinstance(error, NoPermissionError) or not re.match("[A-Z]{3,} ", str(error))
