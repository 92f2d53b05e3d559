"""
What the admin's log holds of sessions that were ended: of each its id, whose it was, the device and
the address that used it, and how it was ended. The entry's user is the staff member who ended it.

No name of the session's user is in the log, for not everybody who reads it may see that. The pages
of the section put the name there for those who may.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Self

from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import router, transaction
from django.http import HttpRequest
from django.utils.translation import gettext as _

from sessions_redis.admin import users
from sessions_redis.admin.viewers import Viewer
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.models import LONGEST_PK, Session, readable_pk
from sessions_redis.storage.listings import BATCH_SIZE
from sessions_redis.web.devices import device_of

if TYPE_CHECKING:
    from django.db.models import QuerySet

# How a session was ended: by itself, with others that were selected, with all of its user.
ALONE, SELECTED, ALL_OF_USER = WAYS = ("alone", "selected", "all of user")


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


@dataclass(frozen=True, slots=True)
class Ending:
    """
    What an entry says of a session that was ended. ``way``: one of `WAYS`.

    ``device`` and ``ip`` are ``None`` where they are not known. ``is_certain``: ``False`` if the
    session may live, because the reply of Redis was lost.
    """

    way: str
    user_pk: str | None = None
    device: str | None = None
    ip: str | None = None
    is_certain: bool = True

    @classmethod
    def of(cls, session: Session, way: str) -> Self:
        pk, agent = session.user_pk, session.user_agent
        # Longer ones are damage in Redis, and there are no such users.
        user_pk = pk if pk is None or len(pk) <= LONGEST_PK else readable_pk(pk)
        return cls(way, user_pk, device_of(agent) if agent else None, session.ip)

    @classmethod
    def read(cls, entry: LogEntry) -> Self | None:
        """``None`` for an entry that something else has written, or an earlier version of this."""
        try:
            ((kind, held),) = json.loads(entry.change_message)[0].items()
            return cls(**held["ending"]) if kind == "deleted" else None
        except (ValueError, LookupError, TypeError, AttributeError):
            return None

    def message(self, called: str) -> str:
        """
        What the entry holds, in the structure that Django translates for any page that shows it.

        ``called``: the session in a word. Django shows ``object`` alone, we show the rest.
        """
        parts = [called, *filter(None, (self.device, self.ip))]
        if not self.is_certain:
            parts.append(self.said(""))
        held = {"name": "session", "object": ", ".join(parts), "ending": asdict(self)}
        return json.dumps([{"deleted": held}])

    def said(self, owner: str) -> str:
        """How it was ended. ``owner``: the session's user in a word."""
        if not self.is_certain:
            return _("May have been ended: the reply of Redis was lost.")
        if self.way == ALL_OF_USER:
            return _("Ended, with all sessions of %(user)s.") % {"user": owner}
        if self.way == SELECTED:
            return _("Ended, with others that were selected.")
        return _("Ended.")


@dataclass(frozen=True, slots=True)
class Recorder:
    """
    Ends sessions and writes the log, for the staff member who sent ``request``.

    ``way``: how the sessions are ended, one of `WAYS`.
    """

    request: HttpRequest
    viewer: Viewer
    way: str

    def record(
        self,
        sessions: Sequence[Session],
        end: Callable[[], Sequence[str]],
        user_pk: str | None = None,
    ) -> Outcome:
        """
        Call ``end``, and write an entry for each of the ids that it returns.

        ``sessions``: those that it is about to end, as far as one knows. ``user_pk``: whose any
        others were. If the reply of Redis is lost, the entries say "may have been ended". If
        nothing was sent to Redis, or it refused, nothing is written.
        """
        using = router.db_for_write(LogEntry)
        known = {session.pk: Ending.of(session, self.way) for session in sessions}
        other = Ending.of(Session(user_pk=user_pk), self.way)
        failure: SessionStoreUnavailable | None = None
        # Written before, for what the database refuses to hold must not be ended; and afterwards
        # nothing but the commit is left to fail. Written anew only where it turned out otherwise.
        with transaction.atomic(using=using):
            with transaction.atomic(using=using):
                self._write(known)
                try:
                    ids = end()
                except SessionStoreUnavailable as error:
                    failure, ids = error, error.ended
                as_written = known.keys() == set(ids)
                transaction.set_rollback(not as_written, using=using)
            if not as_written:
                self._write({id: known.get(id, other) for id in ids})
            lost = failure is not None and failure.may_have_been_done
            left = [id for id in known if id not in ids] if lost else []
            self._write({id: replace(known[id], is_certain=False) for id in left})
        return Outcome(len(ids), len(left), failure)

    def _write(self, endings: dict[str, Ending]) -> None:
        entries = [self._entry(id, ending) for id, ending in endings.items()]
        if len(entries) == 1:
            entries[0].save()  # this sends signals, as Django's own log does then
        else:
            LogEntry.objects.bulk_create(entries, batch_size=BATCH_SIZE)

    def _entry(self, id: str, ending: Ending) -> LogEntry:
        pk = ending.user_pk
        session = Session(id)
        session.whose = _("anonymous") if pk is None else users.unnamed(pk)
        message = ending.message(str(session))
        if not self.viewer.sees_sessions:
            # The admin's index shows it to the staff member who ended the session.
            session.whose = ""
        return LogEntry(
            user_id=str(self.request.user.pk),
            content_type_id=ContentType.objects.get_for_model(Session).pk,
            object_id=id,
            object_repr=str(session)[:200],
            action_flag=DELETION,
            change_message=message,
        )


def entries_of(id: str) -> "QuerySet[LogEntry]":
    """What the log holds of the session of this id, the latest first."""
    content_type = ContentType.objects.get_for_model(Session)
    return LogEntry.objects.filter(content_type=content_type, object_id=id)
