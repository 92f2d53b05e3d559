"""What the admin's log holds of sessions that were ended: the id of each, and whose it was."""

from collections.abc import Callable, Sequence
from typing import Any

from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import router, transaction
from django.http import HttpRequest

from sessions_redis import registry
from sessions_redis.models import Session

# Entries that are written in one query.
AT_ONCE = 1000


def record(
    request: HttpRequest,
    sessions: Sequence[Session],
    said: str,
    end: Callable[[], Sequence[str]],
    *,
    owner: str = "",
) -> int:
    """
    Call ``end``, write an entry for each of the ids that it returns, and say how many those are.

    ``sessions``: those that it is about to end, as far as one knows. ``owner``: whose any others
    were. If it raises, as it does when Redis is away, nothing is written.
    """
    using = router.db_for_write(LogEntry)
    known = {session.pk: session for session in sessions}
    # Written before, for what the database refuses to hold must not be ended; and afterwards
    # nothing but the commit is left to fail. Written anew only where it turned out otherwise.
    with transaction.atomic(using=using):
        with transaction.atomic(using=using):
            _write(request, sessions, said)
            ids = end()
            as_written = known.keys() == set(ids)
            transaction.set_rollback(not as_written, using=using)
        if not as_written:
            _write(request, [known.get(id) or _called(id, owner) for id in ids], said)
    return len(ids)


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
