"""What error reports may show: not the password that redis-py's frames hold while it connects."""

import re
from typing import Any, TypeVar

from redis.exceptions import RedisError

E = TypeVar("E", bound=BaseException)

# Where a traceback begins that came up within an exchange. Others are of the code that called.
MODULES_OF_AN_EXCHANGE = {"asyncio", "redis", "sessions_redis", "socket", "ssl"}

# A server's error repeats the arguments of an unknown command. Those of HELLO and AUTH are user and
# password. It also names a user who lacks a permission.
REPEATED_ARGUMENTS = re.compile(r",? with args beginning with:.*", re.DOTALL)
NAMED_USER = re.compile(r"\buser .* has no permissions", re.IGNORECASE | re.DOTALL)


def without_tracebacks(error: E) -> E:
    """
    ``error`` itself, without its traceback, and so are the errors that led to it.

    Django's error page and its mails print the variables of every frame in a traceback. An error
    that the caller was already handling keeps its own.
    """
    link: BaseException | None = error
    while link is not None and _began_in_an_exchange(link):
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error


def without_credentials(error: E) -> E:
    """``error`` itself. Its text, and those of its causes, no longer repeat arguments and users."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, RedisError):
            link.args = tuple(map(_redacted, link.args))
        link = link.__cause__ or link.__context__
    return error


def _redacted(said: Any) -> Any:
    if not isinstance(said, str):
        return said
    return NAMED_USER.sub("this user has no permissions", REPEATED_ARGUMENTS.sub("", said))


def _began_in_an_exchange(error: BaseException) -> bool:
    if error.__traceback__ is None:
        return True
    module = error.__traceback__.tb_frame.f_globals.get("__name__", "")
    return module.partition(".")[0] in MODULES_OF_AN_EXCHANGE
