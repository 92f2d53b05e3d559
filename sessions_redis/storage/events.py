"""What is published when a session ends: its id, the reason, and its user. Pure, as `commands`."""

import re
from typing import NamedTuple
from urllib.parse import quote, unquote

from sessions_redis.storage import replies

# The reasons that the engine gives by itself. ``LOGGED_OUT``: the session was deleted, as at the
# visitor's logout. ``EXPIRED``: it was saved with no time left.
# ``CAP``: its user had too many sessions.
LOGGED_OUT, EXPIRED, ENDED, CAP = "logged_out", "expired", "ended", "cap"

_MESSAGE = re.compile(r"([0-9a-f]{32}) (\S*) (.*)", re.DOTALL)


class Event(NamedTuple):
    """``user``: the primary key, as text; empty if the session was anonymous."""

    id: str
    reason: str
    user: str


def quoted(reason: str) -> str:
    """``reason`` without spaces: scripts put it between the other two parts of the message."""
    return quote(str(reason), safe="", errors="surrogatepass")


def read(message: bytes) -> Event | None:
    """
    The event in a message of a script. ``None`` for any other message.

    Some scripts send an empty message, to see whether they may publish. Other clients may publish
    on this channel as well.
    """
    found = _MESSAGE.fullmatch(replies.text(message))
    if found is None:
        return None
    id, reason, user = found.groups()
    return Event(id, unquote(reason, errors="surrogatepass"), user)
