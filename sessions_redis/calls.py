"""Calls of a session store's own methods, some of which a subclass may have overridden."""

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, TypeVar

from asgiref.sync import sync_to_async
from django.contrib.sessions.backends.base import CreateError

if TYPE_CHECKING:
    from sessions_redis.base import StoreBase
    from sessions_redis.storage.commands import Command

T = TypeVar("T")

# `StoreBase._perform` carries them out: commands, and calls of the store's own methods.
StoreSteps = Generator["Command[Any] | Call", Any, T]

# Exceptions of a called method that the steps receive. A StopIteration that left a method would
# look like the end of the steps.
PASSED_ON = (CreateError, StopIteration)


class Call:
    """
    A call of one of the store's own methods, which steps yield: a subclass may have overridden it.

    Async code calls the method's ``a…`` twin.
    """

    __slots__ = ("args", "name", "options")

    def __init__(self, name: str, *args: Any, **options: Any) -> None:
        self.name = name
        self.args = args
        self.options = options

    def of(self, store: "StoreBase") -> Any:
        return getattr(store, self.name)(*self.args, **self.options)

    async def aof(self, store: "StoreBase") -> Any:
        """
        As `of`, by the method's twin.

        If a subclass overrides the synchronous method alone, that runs, in a thread: so a rule
        that it enforces applies in asynchronous code as well.
        """
        if store._is_overridden(self.name) and not store._is_overridden(twin(self.name)):
            return await sync_to_async(self._in_thread)(store)
        return await getattr(store, twin(self.name))(*self.args, **self.options)

    def _in_thread(self, store: "StoreBase") -> Any:
        try:
            return self.of(store)
        except StopIteration as error:  # which no future takes: the caller would wait forever
            raise RuntimeError(f"{self.name}() raised StopIteration") from error


class Outcome:
    """The result or exception of a call. It hides a session's entries from error reports."""

    __slots__ = ("error", "value")

    def __init__(self, value: Any = None, error: Exception | None = None) -> None:
        self.value = value
        self.error = error

    def resume(self, steps: StoreSteps[Any]) -> Any:
        """Return the next command or call of ``steps``."""
        return steps.throw(self.error) if self.error else steps.send(self.value)


def twin(name: str) -> str:
    """The name of a method's asynchronous twin."""
    return f"_a{name[1:]}" if name.startswith("_") else f"a{name}"
