"""
Steps as values: commands for Redis, which say what to send and how to read the reply, and pauses.

Nothing here does I/O: `clients` carries steps out.
"""

from collections.abc import Callable, Generator, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from sessions_redis.storage import scripts
from sessions_redis.storage.scripts import Script

T = TypeVar("T")

Argument = bytes | str | int

# The commands with a single key that the engine sends, and the key's place among the words.
KEY_PLACES = {
    "HEXISTS": 1,
    "HGETALL": 1,
    "HMGET": 1,
    "HPTTL": 1,
    "MEMORY": 2,
    "OBJECT": 2,
    "PTTL": 1,
    "UNLINK": 1,
    "ZCOUNT": 1,
    "ZRANDMEMBER": 1,
    "ZRANGEBYSCORE": 1,
    "ZREM": 1,
    "ZREVRANGEBYSCORE": 1,
    "ZSCAN": 1,
}


class Command(NamedTuple, Generic[T]):  # made with each request: a dataclass takes longer
    """
    ``parts``: the command's words. ``source``: the text of the script that it names by digest.

    ``read`` turns the reply into the answer; ``read_wrong_type`` gives the answer if Redis says
    that the key is not a hash. ``repeatable`` is ``False`` if sending the command twice would
    change more, or lose its result. Then it is not sent again when its reply is lost.

    ``awaits_replicas``: it creates or ends a session, or changes its user. With ``WAIT_REPLICAS``,
    the engine waits until replicas have it.

    ``read_refusal`` gives the answer, from the server's words, if the user may not run the command,
    or the server does not know it. Without it, that is a failure.

    ``slot``: in a Cluster, a slot of the node to send it to, if the command names no key.
    """

    parts: tuple[Argument, ...]
    read: Callable[[Any], T]
    source: str | None = None
    read_wrong_type: Callable[[], T] | None = None
    repeatable: bool = True
    awaits_replicas: bool = False
    read_refusal: Callable[[str], T] | None = None
    slot: int | None = None

    @property
    def with_source(self) -> tuple[Argument, ...]:
        """The words to send if the server may not know the script."""
        return self.parts if self.source is None else ("EVAL", self.source, *self.parts[2:])

    @property
    def name(self) -> str:
        """The command's name, for people. That of a script follows, as in ``EVALSHA save``."""
        name = str(self.parts[0])
        script = "" if self.source is None else scripts.NAMES.get(str(self.parts[1]), "")
        return f"{name} {script}" if script else name

    @property
    def keys(self) -> Sequence[str]:
        """The keys that the command declares."""
        if self.source is not None:
            return [str(key) for key in self.parts[3 : 3 + int(self.parts[2])]]
        place = KEY_PLACES.get(str(self.parts[0]))
        return [] if place is None else [str(self.parts[place])]


class Pause(NamedTuple):
    """A step that waits for so many seconds and sends nothing."""

    seconds: float


class GiveUp(NamedTuple):
    """A step that raises `SessionStoreUnavailable` with this text."""

    text: str


class Undoable(NamedTuple):
    """A step. If Redis fails there, ``undo`` is sent once, and then the failure is raised."""

    step: "SimpleStep"
    undo: Command[Any]


# What takes several round trips: a generator that receives the answer of each step, and returns a
# result. So it is written once for synchronous and asynchronous code. A list of commands shares one
# round trip, and gets a list of answers.
SimpleStep = Command[Any] | list[Command[Any]] | Pause | GiveUp
Step = SimpleStep | Undoable
Steps = Generator[Step, Any, T]


def script_command(
    script: Script,
    keys: tuple[str, ...],
    args: tuple[Argument, ...],
    read: Callable[[Any], T],
    *,
    repeatable: bool = True,
    read_wrong_type: Callable[[], T] | None = None,
    awaits_replicas: bool = False,
) -> Command[T]:
    return Command(
        ("EVALSHA", script.sha, len(keys), *keys, *args),
        read,
        script.text,
        read_wrong_type,
        repeatable,
        awaits_replicas,
    )
