"""
The nodes of a Redis Cluster: which one serves which slot, and the connection pools of each.

Threads and event loops of a process share what is known of the slots. The first request reads it,
with redis-py's classes, and later requests pay nothing for it. It is read again, at most once a
second, when a node has sent a command elsewhere, refuses one, or does not answer.
"""

import asyncio
from collections.abc import Iterator, Sequence
from threading import Lock
from time import monotonic
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from redis.cluster import LoadBalancer
from redis.exceptions import AskError, RedisError

from sessions_redis import clusters
from sessions_redis.clients import topologies
from sessions_redis.clients.circuit import NoAnswerError
from sessions_redis.clients.cluster_options import options_of
from sessions_redis.clients.leases import NOT_SENT, Leases
from sessions_redis.clients.pipelines import Pipeline
from sessions_redis.clients.pools import ASYNC, SYNC, Pools, build_pool
from sessions_redis.clients.slots import NoNodeError, slot_of
from sessions_redis.clients.topologies import NO_HOSTS, Shard, address_of
from sessions_redis.conf import Conf
from sessions_redis.hosts import Address
from sessions_redis.storage.steps import Command

# How often the topology is read again at most, in seconds.
READ_AGAIN_SECONDS = 1.0

# While slots are not served, requests wait for so many seconds in all. After so many seconds
# without such an answer, they wait again.
PATIENCE_SECONDS = 1.0
FORGET_SECONDS = 2.0


class Nodes:
    """
    The nodes of this process's Cluster, for one setting.

    ``shards``: the addresses that serve each slot, the master's first. Empty until it is known.
    """

    is_cluster = True

    def __init__(self, settings: Conf) -> None:
        build_pool(settings, SYNC, repeats=True)  # raises if the settings have a mistake
        self.conf = settings
        seeds = clusters.seeds_at(settings.location)
        in_url = dict(parse_qsl(urlsplit(seeds.node_url).query))
        self.options = options_of(settings.options or {}, in_url)
        self.shards: list[Shard | None] = []
        self._seeds = seeds.nodes
        self._pools: dict[Address, Pools] = {}
        self._replicas: dict[Address, Pools] = {}
        self._balancer = LoadBalancer()
        self._answered: dict[int | None, Address | None] = {}  # only if replicas may answer
        self._changing = Lock()  # what belongs to each node
        self._reading = Lock()
        self._reading_in: dict[asyncio.AbstractEventLoop, asyncio.Lock] = {}
        self._read_at = float("-inf")  # when the topology was last read, or reading it failed
        self._failure: RedisError | None = None  # of that reading
        self._turn = 0
        self._down_since = self._down_until = float("-inf")

    # Which node

    def master_of(self, slot: int | None) -> Pools:
        """
        The master that serves ``slot``; for ``None``, one that is likely to answer.

        Raises `NoNodeError` if it is not known.
        """
        if slot is None:
            return self._any_master()
        shard = self.shards[slot] if self.shards else None
        if shard is None:
            raise NoNodeError(slot)
        return self.pools_at(shard[0])

    def reader_of(self, slot: int) -> Pools | None:
        """The replica whose turn it is to answer; ``None`` if the master shall answer."""
        shard = self.shards[slot] if self.shards else None
        if self.options.strategy is None or shard is None or len(shard) == 1:
            return None
        place = self._balancer.get_server_index(str(shard[0]), len(shard), self.options.strategy)
        return self._replica_at(shard[place]) if place else None

    def _any_master(self) -> Pools:
        masters = [self.pools_at(address) for address in self._masters()]
        answering = [one for one in masters if not one.circuit.is_suspected] or masters
        if not answering:
            raise NoNodeError(None)
        self._turn += 1
        return answering[self._turn % len(answering)]

    def _masters(self) -> list[Address]:
        return list(dict.fromkeys(shard[0] for shard in self.shards if shard))

    def pools_at(self, address: Address) -> Pools:
        return self._pools.get(address) or self._make(self._pools, address)

    def _replica_at(self, address: Address) -> Pools:
        return self._replicas.get(address) or self._make(self._replicas, address)

    def _make(self, among: dict[Address, Pools], address: Address) -> Pools:
        made = Pools(self.conf, address, reads_replica=among is self._replicas)
        with self._changing:
            return among.setdefault(address, made)  # another thread may have been first

    def named_by(self, redirection: AskError, asked: Pools) -> Pools:
        """The node that ``redirection``, an answer of the node ``asked``, names."""
        host, port = redirection.host, redirection.port
        if host in NO_HOSTS:
            host = address_of(asked)[0]
        elif self.options.remap is not None:
            host, port = self.options.remap((host, port))
        return self.pools_at((host, port))

    def move(self, slot: int, to: Pools) -> None:
        """From now on, the node ``to`` serves ``slot``."""
        address = address_of(to)
        shard = self.shards[slot] or ()
        others = [one for one in shard if one != address] if address in shard else []
        self.shards[slot] = (address, *others)

    # Which node it was

    def note_answer(self, slot: int | None, node: Pools) -> None:
        """Record that ``node`` answered a command for ``slot``."""
        if self.options.strategy is not None:  # otherwise it is the master
            self._answered[slot] = node.address

    def answered_by(self, command: Command[Any]) -> Address | None:
        """The node that answered ``command`` a moment ago, if that is known."""
        slot = slot_of(command)
        if self.options.strategy is not None:
            return self._answered.get(slot)
        shard = None if slot is None else self.shards[slot]
        return None if shard is None else shard[0]

    def is_served_by_another(self, slot: int | None, node: Address | None) -> bool:
        """Whether commands for ``slot`` go to other nodes than ``node``."""
        shard = None if slot is None or not self.shards else self.shards[slot]
        if shard is None:
            return False
        return node not in (shard if self.options.strategy is not None else shard[:1])

    # What Pools have, for tools that monitor commands

    def leases_for(self, commands: Sequence[Command[Any]]) -> Leases:
        """The connections for the first of ``commands``."""
        if not self.shards:
            self.read_again(since=monotonic())
        return self.master_of(slot_of(commands[0])).leases_for(commands)

    async def pipeline_for(self, commands: Sequence[Command[Any]]) -> Pipeline:
        if not self.shards:
            await self.aread_again(since=monotonic())
        return await self.master_of(slot_of(commands[0])).pipeline_for(commands)

    # The topology

    def is_due(self) -> bool:
        """Whether enough time has passed to read the topology again."""
        return monotonic() - self._read_at >= READ_AGAIN_SECONDS

    def is_down_for_long(self) -> bool:
        """
        Record that a slot is not served. ``True`` if that has been so for longer than a failover.

        Until then, requests wait for it. Later ones fail at once.
        """
        now = monotonic()
        if now - self._down_until > FORGET_SECONDS:
            self._down_since = now
        self._down_until = now
        return now - self._down_since > PATIENCE_SECONDS

    def read_again(
        self, *, since: float, first: Pools | None = None, last: Pools | None = None
    ) -> None:
        """
        Read the topology from a node, unless another thread has done it after ``since``.

        Seconds of `monotonic`. ``first`` and ``last``: nodes to ask before and after the others.
        Raises redis-py's error if no node answers and nothing is known yet.
        """
        with self._reading:
            if self._read_at <= since:
                for pools in self._candidates(first, last):
                    if self._has_read(pools):
                        break
        self._require_shards()

    async def aread_again(
        self, *, since: float, first: Pools | None = None, last: Pools | None = None
    ) -> None:
        """As `read_again`, without blocking the running loop: the tasks of a loop share it."""
        loop = asyncio.get_running_loop()
        lock = self._reading_in.get(loop)
        if lock is None:
            for ended in [one for one in self._reading_in if one.is_closed()]:
                del self._reading_in[ended]
            lock = self._reading_in[loop] = asyncio.Lock()
        async with lock:
            if self._read_at <= since:
                for pools in self._candidates(first, last):
                    if await self._ahas_read(pools):
                        break
        self._require_shards()

    def _has_read(self, pools: Pools) -> bool:
        pool = pools.new_pool(SYNC, repeats=False)
        try:
            shards = topologies.shards_seen_by(pools, self.options, pool)
        except RedisError as error:
            return self._failed(error)
        return self._learn(shards)

    async def _ahas_read(self, pools: Pools) -> bool:
        pool = pools.new_pool(ASYNC, repeats=False)
        try:
            shards = await topologies.ashards_seen_by(pools, self.options, pool)
        except RedisError as error:
            return self._failed(error)
        return self._learn(shards)

    def _candidates(self, first: Pools | None, last: Pools | None) -> Iterator[Pools]:
        """The nodes to ask, in this order. Those that are known not to answer are left out."""
        known = [self.pools_at(one) for one in dict.fromkeys(self._addresses())]
        self._turn += 1
        turn = self._turn % (len(known) or 1)
        others = [*known[turn:], *known[:turn], *map(self.pools_at, self._seeds)]
        others.sort(key=lambda pools: pools.circuit.is_suspected)
        asked = dict.fromkeys([*([first] if first else ()), *others])
        if last in asked:
            del asked[last]
            asked[last] = None
        self._failure = None
        for pools in asked:
            if not pools.circuit.is_open():
                yield pools
            elif self._failure is None:
                self._failed(NoAnswerError("none of the nodes answers"))

    def _addresses(self) -> Iterator[Address]:
        for shard in dict.fromkeys(self.shards):
            yield from shard or ()

    def _failed(self, error: RedisError) -> bool:
        # A refusal says more than that another node does not answer.
        if self._failure is None or not topologies.is_refusal(self._failure):
            self._failure = error
        self._read_at = monotonic()
        return False

    def _learn(self, shards: list[Shard | None]) -> bool:
        self.shards = shards
        self._failure = None
        self._read_at = monotonic()
        current = {*self._addresses(), *self._seeds}
        with self._changing:
            left = [
                among.pop(address)
                for among in (self._pools, self._replicas)
                for address in among.keys() - current
            ]
        for pools in left:
            pools.retire()
        return True

    def _require_shards(self) -> None:
        if not self.shards:
            error = self._failure or NoNodeError(None)
            error.add_note(NOT_SENT)
            raise error

    def close(self) -> None:
        """Close the process's connections. Event loops close theirs when they end."""
        for pools in (*self._pools.values(), *self._replicas.values()):
            pools.close()
