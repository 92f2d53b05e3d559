"""What error reports may show: not the password that redis-py's frames hold while it connects."""

from typing import TypeVar

E = TypeVar("E", bound=BaseException)


def without_frames(error: E) -> E:
    """
    ``error`` itself, without its traceback, and so are the errors that led to it.

    Django's error page and its mails print the variables of every frame in a traceback.
    """
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error
