"""
The only package that talks to Redis. It connects to any ``LOCATION`` and runs commands there.

`embedded` is the server that ``embedded://`` starts.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import redis
import redis.asyncio
from redis.exceptions import RedisError

from sessions_redis import conf
from sessions_redis.clients import monitoring, pools
from sessions_redis.clients.answers import aanswers, answers
from sessions_redis.clients.failures import store_unavailable
from sessions_redis.clients.outages import alogging_outages, logging_outages
from sessions_redis.clients.reports import without_credentials, without_tracebacks
from sessions_redis.clients.routing import aacross_nodes, across_nodes
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.storage.steps import Command, GiveUp, Pause, Step, Undoable
from sessions_redis.storage.steps import Steps as Steps

T = TypeVar("T")


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
            yielded = steps.send(_carried_out(yielded, run_all))
    except StopIteration as stop:
        result: T = stop.value
        return result


async def aperform(steps: Steps[T]) -> T:
    """As `perform`, without blocking the running loop."""
    try:
        yielded = next(steps)
        while True:
            yielded = steps.send(await acarry_out(yielded))
    except StopIteration as stop:
        result: T = stop.value
        return result


def carry_out(step: Step) -> Any:
    """Carry out one step, and return its answer or answers."""
    return _carried_out(step, run_all)


async def acarry_out(step: Step) -> Any:
    """As `carry_out`, without blocking the running loop."""
    if isinstance(step, list):
        return await arun_all(step)
    if isinstance(step, Undoable):
        try:
            return await acarry_out(step.step)
        except SessionStoreUnavailable:
            with suppress(SessionStoreUnavailable):  # the first failure is raised
                await arun(step.undo)
            raise
    if isinstance(step, Pause):
        return await asyncio.sleep(step.seconds)
    if isinstance(step, GiveUp):
        raise SessionStoreUnavailable(step.text)
    return await arun(step)


def _carried_out(step: Step, run_all: Callable[[Sequence[Command[Any]]], list[Any]]) -> Any:
    if isinstance(step, list):
        return run_all(step)
    if isinstance(step, Undoable):
        try:
            return _carried_out(step.step, run_all)
        except SessionStoreUnavailable:
            with suppress(SessionStoreUnavailable):  # the first failure is raised
                run_all((step.undo,))
            raise
    if isinstance(step, Pause):
        return time.sleep(step.seconds)
    if isinstance(step, GiveUp):
        raise SessionStoreUnavailable(step.text)
    return run_all((step,))[0]


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
    ours = pools.current()
    carry_out = across_nodes if ours.is_cluster else answers
    return carry_out(ours, commands)


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
    ours = pools.current()
    carry_out = aacross_nodes if ours.is_cluster else aanswers
    return await carry_out(ours, commands)
