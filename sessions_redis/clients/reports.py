"""Keeps the password of Redis out of error reports: redis-py has it in variables and messages."""

import re
from collections.abc import Iterator
from itertools import takewhile
from typing import Any, TypeVar

from redis.exceptions import RedisError

E = TypeVar("E", bound=BaseException)

# The traceback of an error in an exchange begins in one of these packages. Another traceback
# belongs to the code that called.
MODULES_OF_AN_EXCHANGE = {"asyncio", "redis", "sessions_redis", "socket", "ssl"}

# The server's error about an unknown command repeats its arguments. Those of HELLO and AUTH are
# user and password. Another error names the user who has no permission.
REPEATED_ARGUMENTS = re.compile(r",? with args beginning with:.*", re.DOTALL)
NAMED_USER = re.compile(r"\buser .* has no permissions", re.IGNORECASE | re.DOTALL)


def without_tracebacks(error: E) -> E:
    """
    Remove the traceback from ``error`` and from the errors that caused it, and return ``error``.

    Django's error page and its mails print the variables of every frame in a traceback. An error
    that the caller was already handling keeps its traceback.
    """
    for link in takewhile(_began_in_an_exchange, _chain(error)):
        link.__traceback__ = None
    return error


def without_credentials(error: E) -> E:
    """Remove arguments and user names from the texts of ``error`` and its causes; return it."""
    for link in _chain(error):
        if isinstance(link, RedisError):
            link.args = tuple(map(redacted, link.args))
    return error


def _chain(error: BaseException) -> Iterator[BaseException]:
    """``error``, its cause, the cause of that, and so on: each once, also if they form a circle."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        yield link
        seen.add(id(link))
        link = link.__cause__ or link.__context__


def redacted(said: Any) -> Any:
    """``said`` without arguments of commands and without the name of a user, if it is text."""
    if not isinstance(said, str):
        return said
    return NAMED_USER.sub("this user has no permissions", REPEATED_ARGUMENTS.sub("", said))


def _began_in_an_exchange(error: BaseException) -> bool:
    if error.__traceback__ is None:
        return True
    module = error.__traceback__.tb_frame.f_globals.get("__name__", "")
    return module.partition(".")[0] in MODULES_OF_AN_EXCHANGE
