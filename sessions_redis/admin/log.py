"""
The entries in the admin's log about sessions that staff ended.

An entry has the session's ID, its user's primary key, the device, the IP address, and how the
session was ended. The entry's own user is the staff member who ended it.

An entry does not have the name of the session's user, because not all staff who read the log may
see users. The section's pages add the name for staff who may.
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
from sessions_redis.web import devices

if TYPE_CHECKING:
    from django.db.models import QuerySet

# How a session was ended: alone, with others that were selected, with all sessions of its user, or
# with all sessions but that of the staff member.
ALONE, SELECTED, ALL_OF_USER, ALL_OTHERS = ("alone", "selected", "all of user", "all others")


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    The result of ending some sessions. ``ended``: how many ended.

    ``unknown``: how many more of the known sessions may have ended, because the reply from Redis
    was lost. ``failure``: the exception, if Redis did not end all.
    """

    ended: int
    unknown: int = 0
    failure: SessionStoreUnavailable | None = None

    @property
    def is_lost(self) -> bool:
        """Whether the reply from Redis was lost."""
        return self.failure is not None and self.failure.may_have_been_done


@dataclass(frozen=True, slots=True)
class Ending:
    """
    What an entry of the log stores about a session that was ended.

    ``way``: `ALONE`, `SELECTED`, `ALL_OF_USER` or `ALL_OTHERS`. ``device`` and ``ip`` are ``None``
    if they are not known. ``device``: the browser if ``system`` is known, otherwise a description.
    They are stored apart so that each reader sees them in their own language. ``is_certain``:
    ``False`` if the session may still exist, because the reply from Redis was lost. The names of
    the fields are stored in the database, so they cannot change.
    """

    way: str
    user_pk: str | None = None
    device: str | None = None
    ip: str | None = None
    is_certain: bool = True
    system: str | None = None

    @classmethod
    def of(cls, session: Session, way: str) -> Self:
        pk, agent = session.user_pk, session.user_agent
        # A longer primary key is damaged data in Redis: no user has one.
        user_pk = pk if pk is None or len(pk) <= LONGEST_PK else readable_pk(pk)
        device, system = devices.names_of(agent) if agent else (None, None)
        return cls(way, user_pk, device, session.ip, system=system)

    @classmethod
    def read(cls, entry: LogEntry) -> Self | None:
        """Read an entry; ``None`` if an earlier version of this package or other code wrote it."""
        try:
            ((kind, held),) = json.loads(entry.change_message)[0].items()
            return cls(**held["ending"]) if kind == "deleted" else None
        except (ValueError, LookupError, TypeError, AttributeError):
            return None

    def message(self, name: str) -> str:
        """
        Return the JSON for the entry, in the structure that Django itself uses and translates.

        ``name``: what to call the session. Django's own pages show only ``object``. The section's
        pages show the rest.
        """
        parts = [name, *self.whereabouts()]
        if not self.is_certain:
            parts.append(self.in_words(None))
        held = {"name": "session", "object": ", ".join(parts), "ending": asdict(self)}
        return json.dumps([{"deleted": held}])

    def whereabouts(self) -> list[str]:
        """The device and the IP address, as far as they are known."""
        device = self.device and devices.in_words(self.device, self.system)
        return [part for part in (device, self.ip) if part]

    def in_words(self, owner: str | None) -> str:
        """Describe how the session was ended. ``owner``: what to call its user, if at all."""
        if not self.is_certain:
            return _("May have been ended: the reply from Redis was lost.")
        if self.way == ALL_OF_USER and owner is None:
            return _("Ended, together with all sessions of one user.")
        if self.way == ALL_OF_USER:
            return _("Ended, together with all sessions of %(user)s.") % {"user": owner}
        if self.way == ALL_OTHERS:
            return _("Ended, together with all sessions except that of the staff member.")
        if self.way == SELECTED:
            return _("Ended, together with other selected sessions.")
        return _("Ended.")


class _Other(Ending):
    """Of a session that was not known before it ended."""


@dataclass(frozen=True, slots=True)
class Recorder:
    """
    Ends sessions and writes the log, for the staff member who sent ``request``.

    ``way``: how the sessions are ended: `ALONE`, `SELECTED`, `ALL_OF_USER` or `ALL_OTHERS`.
    """

    request: HttpRequest
    viewer: Viewer
    way: str

    def end_and_log(
        self,
        sessions: Sequence[Session],
        end: Callable[[], Sequence[str]],
        user_pk: str | None = None,
    ) -> Outcome:
        """
        Call ``end``, and write an entry for each session ID that it returns.

        ``sessions``: the sessions that it will probably end. ``user_pk``: the user of any other
        sessions that it ends; ``None`` if that is not known. If the reply from Redis is lost, the
        entries say "may have been ended". If Redis refused, or nothing was sent to it, this writes
        nothing.
        """
        using = router.db_for_write(LogEntry)
        known = {session.pk: Ending.of(session, self.way) for session in sessions}
        other = _Other.of(Session(user_pk=user_pk), self.way)
        failure: SessionStoreUnavailable | None = None
        # The entries are written first: if the database refuses them, no session ends. Afterwards
        # only the commit can fail. If other sessions ended than expected, they are written again.
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
            entries[0].save()  # sends signals, as Django does for a single entry
        else:
            LogEntry.objects.bulk_create(entries, batch_size=BATCH_SIZE)

    def _entry(self, id: str, ending: Ending) -> LogEntry:
        pk = ending.user_pk
        session = Session(id)
        session.user_label = _("anonymous") if pk is None else users.label_without_name(pk)
        if isinstance(ending, _Other) and pk is None:
            session.user_label = ""  # it is not known whether it had a user
        message = ending.message(str(session))
        if not self.viewer.sees_sessions:
            # The admin's start page shows this text to the staff member who ended the session.
            session.user_label = ""
        return LogEntry(
            user_id=str(self.request.user.pk),
            content_type_id=ContentType.objects.get_for_model(Session).pk,
            object_id=id,
            object_repr=str(session)[:200],
            action_flag=DELETION,
            change_message=message,
        )


def entries_of(id: str) -> "QuerySet[LogEntry]":
    """Return the log's entries about the session with this ID, newest first."""
    content_type = ContentType.objects.get_for_model(Session)
    return LogEntry.objects.filter(content_type=content_type, object_id=id)
