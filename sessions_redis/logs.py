"""Log lines: nothing that comes from outside can forge one."""

import logging
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponseBase

Response = TypeVar("Response", bound="HttpResponseBase")


def printable(value: object) -> str:
    """
    ``value`` as text in one line: what cannot be printed is escaped, as in ``\\n``.

    That covers line breaks, control characters, characters that change the direction of writing,
    and lone surrogates, which a log file refuses. To escape twice changes nothing.
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
    """A logger that makes each argument of a line printable. Numbers and bytes are already."""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        kwargs.setdefault("stacklevel", 2)  # the line is that of the caller
        super().log(level, msg, *map(_argument, args), **kwargs)

    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        return msg, kwargs  # the adapter's own puts its "extra" in the place of the caller's


def _argument(value: object) -> object:
    return value if isinstance(value, int | float | bytes) else printable(value)


def named(name: str) -> Log:
    """The log of this name. The package has no other."""
    return Log(logging.getLogger(name))


def logged(response: Response) -> Response:
    """
    Keep Django from logging ``response``, which has a line already; and return it.

    Django logs each response of status 500 and above as an error, which it mails to ``ADMINS``.
    """
    response._has_been_logged = True  # type: ignore[attr-defined]  # as log_response() does
    return response


def is_logged(response: "HttpResponseBase") -> bool:
    return getattr(response, "_has_been_logged", False)


def no_request() -> "HttpRequest":
    """
    What a record says of its request, so that Django's ``AdminEmailHandler`` lists no settings.

    Otherwise it puts all of them into each mail, ``SESSION_REDIS`` and its password among them.
    """
    from sessions_redis.mails import NoRequest  # noqa: PLC0415 - imports all of Django's views

    return NoRequest()
