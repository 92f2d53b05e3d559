"""
The only package that talks to Redis. It connects to any ``LOCATION`` and runs commands there.

`embedded` is the server that ``embedded://`` starts.
"""

import re
from collections.abc import Callable, Generator, Iterable, Sequence
from functools import partial
from typing import Any, TypeVar

import redis
import redis.asyncio
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import (
    NoPermissionError,
    NoScriptError,
    RedisError,
    ResponseError,
)

from sessions_redis import conf
from sessions_redis.clients import monitoring, pools, replicas
from sessions_redis.clients.exchange import Request, exchange, is_refusal_of_replica, packed
from sessions_redis.clients.failures import store_unavailable
from sessions_redis.clients.outages import alogging_outages, logging_outages
from sessions_redis.clients.reports import without_credentials, without_tracebacks
from sessions_redis.storage.commands import Command

T = TypeVar("T")

# How often a command is sent again if the server did not run it. The first time can be because the
# server did not know the script, the second because it is no longer the master.
MAX_RESENDS = 2

# A generator that yields commands, receives their answers and returns a result. So a method that
# takes several round trips is written once for synchronous and asynchronous code. If it yields a
# list of commands, they share one round trip, and it receives a list of answers.
Steps = Generator[Command[Any] | list[Command[Any]], Any, T]


def perform(steps: Steps[T]) -> T:
    """Run the commands that ``steps`` yields, and return its result."""
    return _performed(steps, run_all)


def perform_without_logging_outages(steps: Steps[T]) -> T:
    """As `perform`, but an outage that it meets is not logged. For steps that no visitor needs."""
    return _performed(steps, _run_all)


def _performed(steps: Steps[T], run_all: Callable[[Sequence[Command[Any]]], list[Any]]) -> T:
    try:
        yielded = next(steps)
        while True:
            if isinstance(yielded, list):
                yielded = steps.send(run_all(yielded))
            else:
                yielded = steps.send(run_all((yielded,))[0])
    except StopIteration as stop:
        result: T = stop.value
        return result


async def aperform(steps: Steps[T]) -> T:
    """As `perform`, without blocking the running loop."""
    try:
        yielded = next(steps)
        while True:
            yielded = steps.send(
                await arun_all(yielded) if isinstance(yielded, list) else await arun(yielded)
            )
    except StopIteration as stop:
        result: T = stop.value
        return result


def run(command: Command[T]) -> T:
    """
    Run ``command`` in Redis and return its answer.

    Raises `SessionStoreUnavailable` if Redis cannot be reached or refuses the command. Its cause is
    the error of redis-py.
    """
    answer: T = run_all((command,))[0]
    return answer


async def arun(command: Command[T]) -> T:
    """As `run`, on the connections of the running event loop."""
    answer: T = (await arun_all((command,)))[0]
    return answer


@logging_outages
def run_all(commands: Sequence[Command[Any]]) -> list[Any]:
    """Run ``commands`` in one round trip, one after the other, and return their answers."""
    return _run_all(commands)


def _run_all(commands: Sequence[Command[Any]]) -> list[Any]:
    try:
        if commands and monitoring.is_watched(redis.Redis):
            pool = pools.current().leases_for(commands).pool
            return monitoring.show(commands, pool, partial(_answers, commands))
        return _answers(commands)
    except RedisError as error:
        raise store_unavailable(conf.current(), without_credentials(error)) from without_tracebacks(
            error
        )


def _answers(commands: Sequence[Command[Any]]) -> list[Any]:
    replies = _replies(commands, [command.parts for command in commands])
    if not _has_error(replies):  # as mostly, and the rest takes longer
        return replies
    for _ in range(MAX_RESENDS):
        again = _places_to_resend(replies)
        if not again:
            break
        missed = [commands[place] for place in again]
        sources = [command.with_source for command in missed]
        _put_in_place(replies, again, _replies(missed, sources))
    return [_answer(reply, command) for reply, command in zip(replies, commands, strict=True)]


@alogging_outages
async def arun_all(commands: Sequence[Command[Any]]) -> list[Any]:
    """As `run_all`, on the connections of the running event loop."""
    try:
        if commands and monitoring.is_watched(redis.asyncio.Redis):
            pool = (await pools.current().pipeline_for(commands)).leases.pool
            return await monitoring.ashow(commands, pool, partial(_aanswers, commands))
        return await _aanswers(commands)
    except RedisError as error:
        raise store_unavailable(conf.current(), without_credentials(error)) from without_tracebacks(
            error
        )


async def _aanswers(commands: Sequence[Command[Any]]) -> list[Any]:
    replies = await _areplies(commands, [command.parts for command in commands])
    if not _has_error(replies):  # as mostly, and the rest takes longer
        return replies
    for _ in range(MAX_RESENDS):
        again = _places_to_resend(replies)
        if not again:
            break
        missed = [commands[place] for place in again]
        sources = [command.with_source for command in missed]
        _put_in_place(replies, again, await _areplies(missed, sources))
    return [_answer(reply, command) for reply, command in zip(replies, commands, strict=True)]


def _has_error(replies: Sequence[Any]) -> bool:
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


def _replies(commands: Sequence[Command[Any]], requests: list[Request]) -> list[Any]:
    """
    The answers to ``requests``, which run ``commands``. An error of the server is an answer.

    ``requests`` can send a script's hash or its source, so they are not taken from ``commands``.
    """
    if not requests:
        return []
    ours, reads = pools.current(), [command.read for command in commands]
    leases, wait = ours.leases_for(commands), None
    if ours.conf.wait_replicas:
        wait = replicas.wait_after(commands, ours.conf, leases.pool)
    if wait:
        requests, reads = [*requests, wait.command.parts], [*reads, wait.command.read]
    try:
        answers = exchange(leases, packed(requests), reads)
    except RedisConnectionError:
        if not ours.restart_embedded_server(commands):
            raise
        answers = exchange(ours.leases_for(commands), packed(requests), reads)
    if wait:
        wait.report(answers.pop(), answers)
    return answers


async def _areplies(commands: Sequence[Command[Any]], requests: list[Request]) -> list[Any]:
    if not requests:
        return []
    ours, reads = pools.current(), [command.read for command in commands]
    pipeline, wait = await ours.pipeline_for(commands), None
    if ours.conf.wait_replicas:
        wait = replicas.wait_after(commands, ours.conf, pipeline.leases.pool)
    if wait:
        # Two requests have an exchange of their own, so no other task waits for replicas.
        requests, reads = [*requests, wait.command.parts], [*reads, wait.command.read]
    try:
        answers = await pipeline.ask(requests, reads)
    except RedisConnectionError:
        if not ours.restart_embedded_server(commands):
            raise
        answers = await (await ours.pipeline_for(commands)).ask(requests, reads)
    if wait:
        wait.report(answers.pop(), answers)
    return answers


def _answer(reply: Any, command: Command[T]) -> T:
    if not isinstance(reply, ResponseError):
        answer: T = reply
        return answer
    # In the error of a script, Redis 6.2 puts words of its own before this one.
    if command.read_wrong_type is not None and "WRONGTYPE" in str(reply):
        return command.read_wrong_type()
    if command.read_refusal is not None and _is_refusal_of_command(reply):
        return command.read_refusal(str(reply))
    raise reply


def _is_refusal_of_command(error: ResponseError) -> bool:
    """
    Whether the user may not run the command, or the server does not know it.

    Errors about the state of the server, such as BUSY, start with a word in capitals. redis-py
    removes this word from refusals, where it is ERR or NOPERM.
    """
    return isinstance(error, NoPermissionError) or not re.match("[A-Z]{3,} ", str(error))
