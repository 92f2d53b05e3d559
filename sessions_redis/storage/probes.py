"""Commands that show what a server allows. They need no key and write nothing."""

from collections.abc import Generator
from hashlib import sha1

from sessions_redis.storage import replies
from sessions_redis.storage.steps import Command

# The least script.
_SOURCE = "return 1"
_DIGEST = sha1(_SOURCE.encode(), usedforsecurity=False).hexdigest()


def runs_scripts() -> Generator[Command[bool], bool, None]:
    """Commands that succeed if the server runs scripts by their source and by their digest."""
    yield Command(("EVAL", _SOURCE, 0), replies.flag)
    yield Command(("EVALSHA", _DIGEST, 0), replies.flag, _SOURCE)


def publishes(channel: str) -> Generator[Command[int], int, None]:
    """A command that succeeds if this user may publish there. Listeners ignore its message."""
    yield Command(("PUBLISH", channel, ""), replies.number)
