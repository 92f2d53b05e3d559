"""What the admin's log holds of sessions that were ended: the id of each, and whose it was."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import router, transaction
from django.http import HttpRequest
from django.utils.translation import gettext as _

from sessions_redis import registry
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.models import Session

# Entries that are written in one query.
AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What became of sessions that were to be ended. ``ended``: how many were.

    ``unknown``: how many others may have been ended, as far as one knows, because the reply of
    Redis was lost. ``failure``: what kept Redis from ending all.
    """

    ended: int
    unknown: int = 0
    failure: SessionStoreUnavailable | None = None

    @property
    def is_lost(self) -> bool:
        """Whether the reply of Redis was lost."""
        return self.failure is not None and self.failure.may_have_been_done


def record(
    request: HttpRequest,
    sessions: Sequence[Session],
    said: str,
    end: Callable[[], Sequence[str]],
    *,
    owner: str = "",
) -> Outcome:
    """
    Call ``end``, and write an entry for each of the ids that it returns.

    ``sessions``: those that it is about to end, as far as one knows. ``owner``: whose any others
    were. If the reply of Redis is lost, the entries say "may have been ended". If nothing was sent
    to Redis, or it refused, nothing is written.
    """
    using = router.db_for_write(LogEntry)
    known = {session.pk: session for session in sessions}
    failure: SessionStoreUnavailable | None = None
    # Written before, for what the database refuses to hold must not be ended; and afterwards
    # nothing but the commit is left to fail. Written anew only where it turned out otherwise.
    with transaction.atomic(using=using):
        with transaction.atomic(using=using):
            _write(request, sessions, said)
            try:
                ids = end()
            except SessionStoreUnavailable as error:
                failure, ids = error, error.ended
            as_written = known.keys() == set(ids)
            transaction.set_rollback(not as_written, using=using)
        if not as_written:
            _write(request, [known.get(id) or _called(id, owner) for id in ids], said)
        unknown = _unknown(known, failure)
        _write(request, unknown, _("May have been ended: the reply of Redis was lost."))
    return Outcome(len(ids), len(unknown), failure)


def _unknown(
    known: Mapping[str, Session], failure: SessionStoreUnavailable | None
) -> list[Session]:
    if failure is None or not failure.may_have_been_done:
        return []
    return [session for id, session in known.items() if id not in failure.ended]


def _write(request: HttpRequest, sessions: Sequence[Session], said: str) -> None:
    log: Any = LogEntry.objects.log_actions
    for start in range(0, len(sessions), AT_ONCE):
        log(request.user.pk, sessions[start : start + AT_ONCE], DELETION, said)


def _called(id: str, owner: str) -> Session:
    """A session of which nothing else is known."""
    session = Session(id)
    session.label = f"{session.short_id} ({owner})"
    return session


def ended(id: str) -> Session | None:
    """The session of this id as the log calls it, with nothing but its name; or ``None``."""
    if not registry.is_id(id):
        return None
    content_type = ContentType.objects.get_for_model(Session)
    entry = LogEntry.objects.filter(content_type=content_type, object_id=id).first()
    if entry is None:
        return None
    session = Session(id)
    session.label = entry.object_repr
    return session
