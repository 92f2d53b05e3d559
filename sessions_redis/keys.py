"""Session keys: new ones, and how steps carry one."""

import secrets

from django.contrib.sessions.backends.base import VALID_KEY_CHARS

from sessions_redis.storage.commands import session_id

# Characters of a new session key, as many as SessionBase gives it.
KEY_LENGTH = 32

# The character that each random byte stands for. Bytes beyond the last whole round are rejected:
# they would make the first characters more likely than the others.
_CHARACTERS = bytes(ord(VALID_KEY_CHARS[byte % len(VALID_KEY_CHARS)]) for byte in range(256))
_REJECTED = bytes(range(256 - 256 % len(VALID_KEY_CHARS), 256))


class Key:
    """
    A session key and its id.

    Error reports print the local variables of every frame. Steps that can raise hold a key in here.
    """

    __slots__ = ("id", "session_key")

    def __init__(self, session_key: str) -> None:
        self.session_key = session_key
        self.id = session_id(session_key)


def random_key() -> str:
    # Each key is as likely as any other, as with get_random_string(), in a tenth of the time.
    drawn = b""
    while len(drawn) < KEY_LENGTH:
        drawn += secrets.token_bytes(KEY_LENGTH).translate(_CHARACTERS, _REJECTED)
    return drawn[:KEY_LENGTH].decode()
