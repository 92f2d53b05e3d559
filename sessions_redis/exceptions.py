"""What a caller may have to tell apart, beyond Django's own ``CreateError`` and ``UpdateError``."""

from collections.abc import Sequence

from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted

from sessions_redis.logs import printable

GONE = "The session was deleted or has expired."


class SessionGone(UpdateError, SessionInterrupted):  # noqa: N818 - named for what happened
    """
    The session was ended or has expired while a request was using it; nothing was written.

    Where a view lets it through, Django answers 400 and leaves the cookie alone, as it does for
    its own ``SessionInterrupted``.
    """


class SessionStoreUnavailable(Exception):  # noqa: N818 - named for what a caller is told
    """
    Redis did not answer, or refused a command, or something else answered in its place.

    Whether the session exists is not known.

    Raised from the client's own error (``__cause__``). A site answers with 503: the visitor's
    cookie is still good and must not be touched. The text is fit for a log: what the server said
    is escaped.

    ``may_have_been_done``: a command may have reached Redis, and its reply was lost, so what it was
    to write or to end may be written or ended. ``False`` where nothing was sent, or Redis refused.
    ``ended``: where the registry was ending many sessions, the ids of those that it had ended, and
    sent the signal for, before Redis failed. Which sessions the step that failed ended is not known
    if its reply was lost; it ended none if Redis refused it.
    """

    may_have_been_done: bool = False
    ended: Sequence[str] = ()

    def __str__(self) -> str:
        return printable(super().__str__())
