"""
What moving out of Redis does: calls of the next engine, and the end of the session in Redis.

`moving_out` has the rules. They are generators of steps, which `perform` and `aperform` carry out.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from functools import partial
from typing import Any, TypeVar

from sessions_redis import clients
from sessions_redis.calls import Call, CallTo, StoreSteps, aoutcome_of, outcome_of, twin
from sessions_redis.clients import acarry_out, carry_out
from sessions_redis.former import FormerStore
from sessions_redis.former.failures import Failures
from sessions_redis.keys import Key
from sessions_redis.storage.steps import Steps

T = TypeVar("T")

# The name of the next engine's asynchronous method that is running, as Call has it. Some engines
# call the plain method there, which is then the next engine's own.
running: ContextVar[str] = ContextVar("running", default="")


class Theirs(CallTo):
    """
    A call of the next engine's own method. A `Key` among the arguments is passed as text.

    Loading raises `SessionStoreUnavailable` if it fails because the engine's store is away.
    """

    __slots__ = ()

    def of(self, store: Any) -> Any:
        with self._failures(store):
            return getattr(self.target, self.name)(*map(_text, self.args))

    async def aof(self, store: Any) -> Any:
        before = running.set(self.name)
        try:
            with self._failures(store):
                return await getattr(self.target, twin(self.name))(*map(_text, self.args))
        finally:
            running.reset(before)

    def _failures(self, store: Any) -> AbstractContextManager[None]:
        return Failures(store.next_engine) if self.name == "load" else nullcontext()


class Finishing(Call):
    """
    Carries out ``steps`` in Redis after the next engine has created the session.

    They return whether Redis had it until then. If not, it has been ended since this request read
    it: another request had moved it, and its visitor signed out. Then it is deleted there again.
    The call returns whether it stays.

    Inside a transaction of the next engine's database, this is done after the commit: after a
    rollback, the session is still in Redis.
    """

    __slots__ = ("key", "next", "stays", "steps")

    def __init__(self, store: FormerStore, key: Key, steps: Callable[[], Steps[bool]]) -> None:
        super().__init__("finish")
        self.next = store
        self.key = key
        self.steps = steps
        self.stays = True

    def of(self, store: Any) -> bool:
        store._uncommitted = self.key
        self.next.after_commit(partial(self._finish, store))
        return self.stays

    async def aof(self, store: Any) -> bool:
        store._uncommitted = self.key
        await self.next.aafter_commit(partial(self._finish, store))
        return self.stays

    def _finish(self, store: Any) -> None:
        store._uncommitted = None
        self.stays = clients.perform(self.steps())
        if not self.stays:
            self.next.delete(self.key)


def perform(store: Any, steps: StoreSteps[T]) -> T:
    try:
        asked = next(steps)
        while True:
            if isinstance(asked, Call):
                asked = outcome_of(asked, store).resume(steps)
            else:
                asked = steps.send(carry_out(asked))
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        steps.close()


async def aperform(store: Any, steps: StoreSteps[T]) -> T:
    try:
        asked = next(steps)
        while True:
            if isinstance(asked, Call):
                asked = (await aoutcome_of(asked, store)).resume(steps)
            else:
                asked = steps.send(await acarry_out(asked))
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        steps.close()


def _text(argument: Any) -> Any:
    return argument.session_key if isinstance(argument, Key) else argument
