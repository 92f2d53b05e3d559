"""Loggers that escape their arguments, so that text from outside cannot forge a log line."""

import logging
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponseBase

Response = TypeVar("Response", bound="HttpResponseBase")


def printable(value: object) -> str:
    """
    ``value`` as text in one line. Characters that cannot be printed are escaped, such as ``\\n``.

    These are line breaks, control characters, characters that change the direction of writing, and
    lone surrogates, which cannot be written to a file. Escaping twice changes nothing.
    """
    text = str(value)
    if text.isprintable():
        return text
    return "".join(map(_printable, text))


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")


class Log(logging.LoggerAdapter[logging.Logger]):
    """A logger that applies `printable` to its arguments, except to numbers and bytes."""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        kwargs.setdefault("stacklevel", 2)  # records show the caller's line, not this one
        super().log(level, msg, *map(_argument, args), **kwargs)

    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        return msg, kwargs  # LoggerAdapter's own method would replace the caller's "extra"


def _argument(value: object) -> object:
    return value if isinstance(value, int | float | bytes) else printable(value)


def named(name: str) -> Log:
    """The logger of this name. The package uses no other kind of logger."""
    return Log(logging.getLogger(name))


def logged(response: Response) -> Response:
    """
    Mark ``response`` as logged, so that Django does not log it again, and return it.

    Django logs each response of status 500 and above as an error, which it mails to ``ADMINS``.
    """
    response._has_been_logged = True  # type: ignore[attr-defined]  # as log_response() does
    return response


def is_logged(response: "HttpResponseBase") -> bool:
    return getattr(response, "_has_been_logged", False)


def no_request() -> "HttpRequest":
    """
    A request for log records that have none.

    Without it, Django's ``AdminEmailHandler`` puts all settings into the mail about the record,
    also ``SESSION_REDIS`` and the password in it.
    """
    from sessions_redis.mails import NoRequest  # noqa: PLC0415 - it imports Django's views

    return NoRequest()
