"""
Auto-pipelining: what the tasks of an event loop ask in one turn of it goes out together.

To send and to receive is most of what an exchange costs. Under load, when many requests of a site
are under way at a time, they share that; alone, none waits for another.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from sessions_redis.clients.exchange import Request, aexchange, packed
from sessions_redis.clients.garbage import Read
from sessions_redis.clients.leases import AsyncLeases

# Requests that share an exchange. With more the first would wait longer for the last one's reply,
# and there is nothing left to gain.
PIPELINE_LIMIT = 32


class _Asked(NamedTuple):
    sent: bytes
    read: Read
    reply: "asyncio.Future[Any]"


class Pipeline:
    """
    Over the connections of one event loop.

    Whoever is cancelled takes nobody else along. An error of the connection is everybody's who
    shared it, as is its retry: what must not be sent twice has a pipeline of its own.
    """

    def __init__(self, leases: AsyncLeases) -> None:
        self.leases = leases
        self._asked: list[_Asked] = []
        self._under_way: set[Any] = set()

    async def ask(self, requests: Sequence[Request], reads: Sequence[Read]) -> list[Any]:
        """What ``reads`` make of the replies to ``requests``, as `aexchange` has it."""
        sent = packed(requests)
        if len(requests) == 1 and self._under_way:
            return [await self._shared(sent, reads[0])]
        # Nobody is there to share with; or many requests, which nobody shall have to wait for.
        mark = object()
        self._under_way.add(mark)
        try:
            return await aexchange(self.leases, sent, reads)
        finally:
            self._under_way.discard(mark)

    def _shared(self, sent: bytes, read: Read) -> "asyncio.Future[Any]":
        loop = asyncio.get_running_loop()
        reply = loop.create_future()
        if not self._asked:
            loop.call_soon(self._send)
        self._asked.append(_Asked(sent, read, reply))
        return reply

    def _send(self) -> None:
        # Without who was cancelled meanwhile.
        asked = [one for one in self._asked if not one.reply.done()]
        self._asked.clear()
        for start in range(0, len(asked), PIPELINE_LIMIT):
            together = asked[start : start + PIPELINE_LIMIT]
            sent = b"".join(one.sent for one in together)
            reads = [one.read for one in together]
            exchange = asyncio.create_task(aexchange(self.leases, sent, reads))
            self._under_way.add(exchange)
            exchange.add_done_callback(partial(self._hand_out, together))

    def _hand_out(self, together: list[_Asked], exchange: "asyncio.Task[list[Any]]") -> None:
        self._under_way.discard(exchange)
        error = None if exchange.cancelled() else exchange.exception()
        for place, (*_, reply) in enumerate(together):
            if exchange.cancelled():
                reply.cancel()
            elif reply.done():
                continue  # who asked was cancelled
            elif error:
                reply.set_exception(error)
            else:
                reply.set_result(exchange.result()[place])
