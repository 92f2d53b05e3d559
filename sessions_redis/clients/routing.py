"""
Runs commands in a Redis Cluster: each on the node that serves the slot of its keys.

The commands for one node share an exchange, and the exchanges with several nodes take place at the
same time.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from redis.exceptions import RedisError

from sessions_redis.clients.answers import Commands, areplies, has_error, replies
from sessions_redis.clients.errands import Part
from sessions_redis.clients.nodes import Nodes
from sessions_redis.clients.pools import Pools
from sessions_redis.clients.routes import Outcome, ReadAgain, Route, Tried, Wait
from sessions_redis.clients.slots import slot_of

# So many nodes are asked at the same time by synchronous code. Each needs some frames of the stack.
AT_A_TIME = 16


def _only_node(nodes: Nodes, commands: Commands) -> Pools | None:
    """The node for a single command, if it is known and no replica may answer."""
    if len(commands) != 1 or nodes.options.strategy is not None or not nodes.shards:
        return None
    slot = slot_of(commands[0])
    shard = None if slot is None else nodes.shards[slot]
    return None if shard is None else nodes.pools_at(shard[0])


def across_nodes(nodes: Nodes, commands: Commands) -> list[Any]:
    """The answers to ``commands``. Raises the errors of redis-py."""
    tried = None
    if (node := _only_node(nodes, commands)) is not None:  # as mostly, and the rest takes longer
        try:
            found = replies(node, commands, [commands[0].parts])
            if not has_error(found):
                return found
            tried = Tried(node, found)
        except RedisError as error:
            tried = Tried(node, error)
    steps = Route(nodes, commands).steps(tried)
    try:
        step = next(steps)
        while True:
            step = steps.send(_carried_out(nodes, step))
    except StopIteration as stop:
        answered: list[Any] = stop.value
        return answered


def _carried_out(nodes: Nodes, step: list[Part] | ReadAgain | Wait) -> list[Outcome] | None:
    if isinstance(step, list):
        return _together(step)
    if isinstance(step, Wait):
        time.sleep(step.seconds)
    else:
        nodes.read_again(**step._asdict())
    return None


def _together(parts: list[Part]) -> list[Outcome]:
    """Send all ``parts`` before the replies to any of them are read."""
    outcomes: list[Outcome] = [[] for _ in parts]
    if len(parts) == 1:
        outcomes[0] = _outcome(parts[0], None)
        return outcomes
    asked = 0

    def go_on() -> None:
        nonlocal asked
        at, asked = asked, asked + 1
        is_last = asked == len(parts) or asked % AT_A_TIME == 0
        outcomes[at] = _outcome(parts[at], None if is_last else go_on)

    while asked < len(parts):
        go_on()
    return outcomes


def _outcome(part: Part, meanwhile: Callable[[], None] | None) -> Outcome:
    try:
        return part.read(replies(part.node, *part.commands, meanwhile))
    except RedisError as error:
        return error


async def aacross_nodes(nodes: Nodes, commands: Commands) -> list[Any]:
    """As `across_nodes`, without blocking the running loop."""
    tried = None
    if (node := _only_node(nodes, commands)) is not None:
        try:
            found = await areplies(node, commands, [commands[0].parts])
            if not has_error(found):
                return found
            tried = Tried(node, found)
        except RedisError as error:
            tried = Tried(node, error)
    steps = Route(nodes, commands).steps(tried)
    try:
        step = next(steps)
        while True:
            step = steps.send(await _acarried_out(nodes, step))
    except StopIteration as stop:
        answered: list[Any] = stop.value
        return answered


async def _acarried_out(nodes: Nodes, step: list[Part] | ReadAgain | Wait) -> list[Outcome] | None:
    if isinstance(step, list):
        if len(step) == 1:
            return [await _aoutcome(step[0])]
        found = await asyncio.gather(*map(_aoutcome, step), return_exceptions=True)
        for one in found:  # an error of this package, or a task that somebody else cancelled
            if isinstance(one, BaseException) and not isinstance(one, RedisError):
                raise one
        return found  # type: ignore[return-value]  # see the loop
    if isinstance(step, Wait):
        await asyncio.sleep(step.seconds)
    else:
        await nodes.aread_again(**step._asdict())
    return None


async def _aoutcome(part: Part) -> Outcome:
    try:
        return part.read(await areplies(part.node, *part.commands))
    except RedisError as error:
        return error
