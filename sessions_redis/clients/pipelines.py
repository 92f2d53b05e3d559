"""
Auto-pipelining: tasks that send commands in the same turn of the event loop share one round trip.

Most of the cost of an exchange is sending and receiving. Under load, when a site handles many
requests at a time, their commands share that cost. A task that is alone does not wait.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from sessions_redis.clients.exchange import Request, aexchange, packed
from sessions_redis.clients.garbage import Read
from sessions_redis.clients.leases import AsyncLeases

# The most requests that share an exchange. With more of them, the first would wait longer for the
# last one's reply, and the cost of each would hardly fall.
PIPELINE_LIMIT = 32


class _Pending(NamedTuple):
    sent: bytes
    read: Read
    reply: "asyncio.Future[Any]"


class Pipeline:
    """
    Sends the commands of the tasks of one event loop, over the connections of that loop.

    A cancelled task does not cancel the commands of others. All tasks that share an exchange get
    the error of its connection, and are part of its retry. So commands that must not be sent twice
    have a pipeline of their own.
    """

    def __init__(self, leases: AsyncLeases) -> None:
        self.leases = leases
        self._pending: list[_Pending] = []
        self._under_way: set[Any] = set()

    async def ask(self, requests: Sequence[Request], reads: Sequence[Read]) -> list[Any]:
        """
        Send ``requests`` and return their answers, parsed with ``reads``, as `aexchange` does.
        """
        sent = packed(requests)
        if len(requests) == 1 and self._under_way:
            return [await self._in_shared_exchange(sent, reads[0])]
        # No other exchange is under way, or this task sends so much that others should not wait.
        mark = object()
        self._under_way.add(mark)
        try:
            return await aexchange(self.leases, sent, reads)
        finally:
            self._under_way.discard(mark)

    def _in_shared_exchange(self, sent: bytes, read: Read) -> "asyncio.Future[Any]":
        loop = asyncio.get_running_loop()
        reply = loop.create_future()
        if not self._pending:
            loop.call_soon(self._send)
        self._pending.append(_Pending(sent, read, reply))
        return reply

    def _send(self) -> None:
        # Leave out the requests of tasks that were cancelled meanwhile.
        asked = [one for one in self._pending if not one.reply.done()]
        self._pending.clear()
        for start in range(0, len(asked), PIPELINE_LIMIT):
            together = asked[start : start + PIPELINE_LIMIT]
            sent = b"".join(one.sent for one in together)
            reads = [one.read for one in together]
            exchange = asyncio.create_task(aexchange(self.leases, sent, reads))
            self._under_way.add(exchange)
            exchange.add_done_callback(partial(self._hand_out, together))

    def _hand_out(self, together: list[_Pending], exchange: "asyncio.Task[list[Any]]") -> None:
        self._under_way.discard(exchange)
        error = None if exchange.cancelled() else exchange.exception()
        for place, (*_, reply) in enumerate(together):
            if exchange.cancelled():
                reply.cancel()
            elif reply.done():
                continue  # the task was cancelled
            elif error:
                reply.set_exception(error)
            else:
                reply.set_result(exchange.result()[place])
