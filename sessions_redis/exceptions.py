"""The exceptions of the engine, in addition to Django's ``CreateError`` and ``UpdateError``."""

from collections.abc import Sequence

from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.core.exceptions import PermissionDenied
from django.utils.translation import ngettext

from sessions_redis.logs import printable

GONE = "The session was ended or has expired."


class SessionGone(UpdateError, SessionInterrupted):  # noqa: N818 - named for what happened
    """
    The session was ended or expired while a request used it. Nothing was written.

    If a view does not catch it, Django answers 400 and does not touch the cookie, as it does for
    its own ``SessionInterrupted``.
    """


class SessionLimitReached(PermissionDenied):
    """
    A sign-in was refused, because its user has ``limit`` sessions: see MAX_SESSIONS_PER_USER.

    Nothing was written: the visitor's session is as it was before, without this user. If a view
    does not catch this, Django answers 403. Its text is for the visitor.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit

    def __str__(self) -> str:
        text = ngettext(
            "You are signed in on %(count)d device, which is the limit. Sign out there first.",
            "You are signed in on %(count)d devices, which is the limit. Sign out on one of them "
            "first.",
            self.limit,
        )
        return text % {"count": self.limit}


class SessionStoreUnavailable(Exception):  # noqa: N818 - named for what happened
    """
    Redis did not answer, or refused a command, or another program answered in its place.

    It is not known whether the session exists. So a site should answer 503, and leave the visitor's
    cookie as it is: it may still be valid.

    ``__cause__`` is the error of redis-py. The text can be logged: text from the server is escaped.

    ``may_have_been_done``: ``True`` if the command may have reached Redis and only its reply was
    lost. Then Redis may have written or ended the session. ``False`` if nothing was sent, or Redis
    refused the command.

    ``ended``: if the registry was ending many sessions, the IDs of the sessions that it had ended
    before Redis failed. The signal was sent for these. If a reply was lost, the failed step may
    have ended further sessions; if Redis refused it, it ended none.
    """

    may_have_been_done: bool = False
    ended: Sequence[str] = ()

    def __str__(self) -> str:
        return printable(super().__str__())
