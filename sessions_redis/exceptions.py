"""The exceptions of the engine, in addition to Django's ``CreateError`` and ``UpdateError``."""

from collections.abc import Sequence

from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.utils.translation import ngettext

from sessions_redis.logs import printable
from sessions_redis.sizes import shown_size

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


class SessionTooLarge(SuspiciousOperation):
    """
    The session's entries would take more than ``MAX_SESSION_BYTES``. Nothing was written.

    If a view does not catch it, Django answers 400 and logs it to ``django.security``, as it does
    for a request that is too large: a visitor may be filling the session on purpose.

    ``size``: the bytes that the entries would take, names and values. ``limit``: the setting.
    ``largest``: the names and sizes of the largest entries, up to five. Values are never shown.
    """

    def __init__(self, size: int, limit: int, largest: Sequence[tuple[str, int]] = ()) -> None:
        super().__init__(size, limit, largest)
        self.size = size
        self.limit = limit
        self.largest = largest

    def __str__(self) -> str:
        named = [f"{printable(name)} ({shown_size(size)})" for name, size in self.largest]
        return (
            f"The session would take {self.size:,} bytes, and "
            f'SESSION_REDIS["MAX_SESSION_BYTES"] allows {self.limit:,}. Its largest entries are: '
            f"{', '.join(named)}. Store less in them, or raise the limit."
        )


class SessionBusy(Exception):  # noqa: N818 - named for what happened
    """
    Other requests use the session at the same time. This request has written nothing there.

    The base of the exceptions below, for a site that answers all of them in the same way, such as
    with a page that asks the visitor to try again.
    """


class LockTimeout(SessionBusy):
    """Another request held the lock of the session for longer than this one was to wait."""


class LockLost(SessionBusy):
    """
    Another request has taken the session's lock: the block took longer than the lock's ``timeout``.

    What this request was about to write was not written.
    """


class Contended(SessionBusy):
    """``update_entry()`` gave up: other requests changed the entry at each of its attempts."""
