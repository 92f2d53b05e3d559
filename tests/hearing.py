"""A process of the site that hears of ended sessions: a thread with an event loop of its own."""

import asyncio
import threading
from contextlib import aclosing

from sessions_redis import registry
from sessions_redis.engine import SessionStore
from sessions_redis.registry import EndedSession, MayHaveMissed
from sessions_redis.storage.commands import session_id
from tests.servers import wait_until


def signed_in(user="7"):
    session = SessionStore()
    session["_auth_user_id"] = user
    session.create()
    return session


def id_of(session):
    return session_id(session.session_key)


def ended_now():
    """The ID of a session that has just ended."""
    id = id_of(signed_in())
    assert registry.end(id)
    return id


class Hearing:
    """Hears of ended sessions while the ``with`` block runs. It has begun when the block begins."""

    def __init__(self):
        self.heard = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=[self._listen()])

    async def _listen(self):
        self._over = asyncio.Event()
        listening = asyncio.create_task(self._collect())
        await self._over.wait()
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        self.left = asyncio.all_tasks() - {asyncio.current_task()}
        await self._loop.shutdown_asyncgens()

    async def _collect(self):
        async with aclosing(registry.aended()) as events:
            async for event in events:
                self.heard.append(event)

    def __enter__(self):
        self._thread.start()
        self.wait_for_beginning(1)
        return self

    def __exit__(self, *error):
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()
        self._loop.close()
        assert self.left == set()

    @property
    def beginnings(self):
        return sum(isinstance(one, MayHaveMissed) for one in self.heard)

    @property
    def ids(self):
        return [one.id for one in self.heard if isinstance(one, EndedSession)]

    def wait_for(self, *ids):
        wait_until(lambda: {*ids} <= {*self.ids}, "it hears of the ended sessions")

    def wait_for_beginning(self, number):
        wait_until(lambda: self.beginnings >= number, "it has begun to listen", 90)

    def wait_until_it_hears(self):
        """End sessions until it hears of one: on a busy machine, it may connect once more."""
        ended = set()

        def hears():
            ended.add(ended_now())
            return ended & {*self.ids}

        wait_until(hears, "it hears of ended sessions again")
