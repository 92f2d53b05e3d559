"""What the admin's log holds of sessions that were ended: the id of each, and whose it was."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import router, transaction
from django.http import HttpRequest
from django.utils.translation import ngettext

from sessions_redis import registry
from sessions_redis.models import Session


def recorded() -> AbstractContextManager[None]:
    """Around an ending and what is written of it: if Redis is away, nothing is written."""
    return transaction.atomic(using=_database())


def take_back() -> None:
    """Forget what was written within `recorded`."""
    transaction.set_rollback(True, using=_database())


def write(request: HttpRequest, sessions: Sequence[Session], said: str) -> None:
    """One entry for each of ``sessions``, in one query."""
    if sessions:
        log: Any = LogEntry.objects.log_actions
        log(request.user.pk, sessions, DELETION, said)


def write_number(request: HttpRequest, count: int, said: str) -> None:
    """One entry for ``count`` sessions that are too many to be named."""
    if count:
        user: Any = request.user
        LogEntry.objects.create(
            user=user,
            content_type=ContentType.objects.get_for_model(Session),
            object_repr=ngettext("%(count)d session", "%(count)d sessions", count)
            % {"count": count},
            action_flag=DELETION,
            change_message=said,
        )


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


def _database() -> str:
    return router.db_for_write(LogEntry)
