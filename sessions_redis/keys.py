"""Session keys: random new ones, and an object that keeps a key out of error reports."""

import secrets

from django.contrib.sessions.backends.base import VALID_KEY_CHARS

from sessions_redis.storage.commands import session_id

# Characters in a new session key. Django's engines use the same length.
KEY_LENGTH = 32

# The character for each random byte. A byte takes 256 values, which 36 characters do not divide
# evenly. The last values are rejected, so that no character is more likely than another.
_CHARACTERS = bytes(ord(VALID_KEY_CHARS[byte % len(VALID_KEY_CHARS)]) for byte in range(256))
_REJECTED = bytes(range(256 - 256 % len(VALID_KEY_CHARS), 256))


class Key:
    """
    A session key and its ID.

    Error reports print the local variables of every frame. So code that can raise an error keeps
    the session key in such an object, whose ``repr()`` does not show it.
    """

    __slots__ = ("id", "session_key")

    def __init__(self, session_key: str) -> None:
        self.session_key = session_key
        self.id = session_id(session_key)


def random_key() -> str:
    # All keys are equally likely, as with get_random_string(), which takes ten times as long.
    drawn = b""
    while len(drawn) < KEY_LENGTH:
        drawn += secrets.token_bytes(KEY_LENGTH).translate(_CHARACTERS, _REJECTED)
    return drawn[:KEY_LENGTH].decode()
