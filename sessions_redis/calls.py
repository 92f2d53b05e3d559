"""Calls of a session store's own methods, some of which a subclass may have overridden."""

from collections.abc import Generator
from typing import Any, Protocol, TypeVar

from asgiref.sync import sync_to_async
from django.contrib.sessions.backends.base import CreateError

from sessions_redis.storage.steps import Step

T = TypeVar("T")

# Exceptions of a called method that the steps receive. A StopIteration would otherwise look like
# the end of the steps.
PASSED_ON = (CreateError, StopIteration)


class Store(Protocol):
    """A session store that knows which of its methods a subclass overrides."""

    def _is_overridden(self, *names: str) -> bool: ...


class Call:
    """
    A call of one of the store's own methods, which a subclass may override. Steps yield it.

    Asynchronous code calls the method's ``a…`` twin.
    """

    __slots__ = ("args", "name", "options")

    def __init__(self, name: str, *args: Any, **options: Any) -> None:
        self.name = name
        self.args = args
        self.options = options

    def of(self, store: Store) -> Any:
        return getattr(store, self.name)(*self.args, **self.options)

    async def aof(self, store: Store) -> Any:
        """
        As `of`, but call the method's twin.

        If a subclass overrides only the plain method, this runs it in a thread, so that a rule
        which it enforces applies in asynchronous code as well.
        """
        if store._is_overridden(self.name) and not store._is_overridden(twin(self.name)):
            return await sync_to_async(self._in_thread)(store)
        return await getattr(store, twin(self.name))(*self.args, **self.options)

    def _in_thread(self, store: Store) -> Any:
        try:
            return self.of(store)
        except StopIteration as error:  # no future accepts it: the caller would wait forever
            raise RuntimeError(f"{self.name}() raised StopIteration") from error


class CallTo(Call):
    """A call of a method of ``target``, which is not the store itself."""

    __slots__ = ("target",)

    def __init__(self, target: Any, name: str, *args: Any, **options: Any) -> None:
        super().__init__(name, *args, **options)
        self.target = target

    def of(self, _store: Store) -> Any:
        return getattr(self.target, self.name)(*self.args, **self.options)

    async def aof(self, _store: Store) -> Any:
        return await getattr(self.target, twin(self.name))(*self.args, **self.options)


# Steps of a store's method: those of `storage`, and calls of the store's own methods.
# `StoreBase._perform` carries them out.
StoreSteps = Generator[Step | Call, Any, T]


class Outcome:
    """The result or exception of a call. It keeps a session's entries out of error reports."""

    __slots__ = ("error", "value")

    def __init__(self, value: Any = None, error: Exception | None = None) -> None:
        self.value = value
        self.error = error

    def resume(self, steps: StoreSteps[Any]) -> Any:
        """Return the next command or call of ``steps``."""
        return steps.throw(self.error) if self.error else steps.send(self.value)


def outcome_of(call: Call, store: Any) -> Outcome:
    try:
        return Outcome(call.of(store))
    except PASSED_ON as error:
        return Outcome(error=error)


async def aoutcome_of(call: Call, store: Any) -> Outcome:
    try:
        return Outcome(await call.aof(store))
    except PASSED_ON as error:
        return Outcome(error=error)


def twin(name: str) -> str:
    """The name of a method's asynchronous twin."""
    return f"_a{name[1:]}" if name.startswith("_") else f"a{name}"
