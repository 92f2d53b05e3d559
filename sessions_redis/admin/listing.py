"""What the admin's pages take for a queryset of sessions."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, NoReturn

from django.db import NotSupportedError
from django.db.models import Q

from sessions_redis import registry
from sessions_redis.models import Session
from sessions_redis.registry import ALL, LiveSession, Started
from sessions_redis.storage.listings import BATCH_SIZE, END_MANY_BATCH_SIZE

# Sessions that are ended at a time: as many as one command ends, so that the log says of no others
# that they may have been ended, where the reply to that is lost.

# Sessions that a listing of several users has. To find those further down would take reading as
# many members of each user's index.
MOST = 1000


class NotOffered(NotSupportedError, AttributeError):  # noqa: N818 - as NotSupportedError itself
    """Something that a queryset does, and a listing of sessions does not."""


class Listing:
    """
    Some of the live sessions in an order: a `Selection` of the registry, read when looked at.

    It does what the admin asks of a queryset to list, find and choose; anything else raises
    `NotOffered`. ``ids`` narrows it to sessions of these ids. ``dress`` is told each batch of
    sessions that was read, to add what the registry does not know. ``is_complete``: whether the
    search for the first digits of an id looked at all sessions.

    Copies share what they have counted and found: one request sees one moment.
    """

    model = Session
    ordered = totally_ordered = True
    query = SimpleNamespace(select_related=False, order_by=())

    def __init__(self, dress: Callable[[Sequence[Session]], None] = lambda _: None) -> None:
        self.selection = ALL
        self.ids: tuple[str, ...] | None = None
        self.capped = False
        self.is_complete = True
        self._has_more = False
        self._dress = dress
        self._known: dict[Any, Any] = {}
        self._window: tuple[int, int | None] = (0, None)
        self._rows: list[Session] | None = None

    def __getattr__(self, name: str) -> NoReturn:
        raise NotOffered(
            f"Sessions lie in Redis, and their listing in the admin has no {name!r}. It can be "
            "counted, sliced and iterated over; sessions_redis.registry does the rest."
        )

    # As a queryset

    def count(self) -> int:
        few = self._few()
        if few is not None:
            return len(few)
        return min(self._total(), MOST) if self._is_of_several else self._total()

    def exists(self) -> bool:
        return self.count() > 0

    def all(self) -> "Listing":
        return self._clone()

    def order_by(self, *names: str) -> "Listing":
        """By expiry, as the first of ``names`` that is it says; of others nothing is known."""
        orders = [name for name in names if name.lstrip("-") == "expires"]
        return self.select(latest_first=not orders or orders[0].startswith("-"))

    def filter(self, *conditions: Q, **lookups: Any) -> "Listing":
        """Those of some primary keys; by anything else the registry cannot look."""
        wanted: Iterable[Any] | None = None
        for name, value in lookups.items():
            if name in {"pk__in", "id__in"}:
                wanted = value
            elif name in {"pk", "id"}:
                wanted = [value]
            else:
                raise NotOffered(f"Sessions cannot be filtered by {name}.")
        if any(conditions):
            raise NotOffered(f"Sessions cannot be filtered by {conditions}.")
        return self._clone() if wanted is None else self.of_ids(map(str, wanted))

    def get(self, **lookups: Any) -> Session:
        for session in self.filter(**lookups):
            return session
        raise Session.DoesNotExist("There is no such session.")

    def iterator(self, chunk_size: int | None = None) -> Iterator[Session]:
        return iter(self)

    def __iter__(self) -> Iterator[Session]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def __bool__(self) -> bool:
        return bool(self._read())

    def __getitem__(self, place: "int | slice") -> Any:
        if isinstance(place, int):
            return self._read()[place]
        part = self._clone()
        part._window = (place.start or 0, place.stop)
        return part

    def _clone(self) -> "Listing":
        clone = copy(self)
        clone._rows = None
        return clone

    # As a listing of sessions

    def select(self, **changes: Any) -> "Listing":
        """Those that a `Selection` with these changes has."""
        clone = self._clone()
        clone.selection = replace(self.selection, **changes)
        return clone

    def of_users(self, pks: Iterable[str], *, capped: bool = False) -> "Listing":
        """Those of some users. ``capped``: there are more such users than are named here."""
        users = tuple(pks)
        if self.selection.users is not None:
            users = tuple(pk for pk in self.selection.users if pk in users)
        clone = self.select(users=users)
        clone.capped = capped
        return clone

    def of_ids(self, ids: Iterable[str]) -> "Listing":
        clone = self._clone()
        clone.ids = tuple(dict.fromkeys(ids))
        if self.ids is not None:
            clone.ids = tuple(id for id in self.ids if id in clone.ids)
        return clone

    def of_started(self, started: Started, theirs: "Listing") -> "Listing":
        """Those that a search found by the first digits of their ids, and those of ``theirs``."""
        lives = registry.latest(0, MOST, theirs.selection) if theirs.selection.users else []
        found = self.of_ids(live.id for live in (*started.sessions, *lives))
        found.capped, found.is_complete = theirs.capped, started.is_complete
        found._has_more = len(lives) == MOST and theirs._total() > MOST
        return found

    @property
    def is_cut(self) -> bool:
        """Whether these are the first `MOST` of several users' sessions, and there are more."""
        if self.ids is not None:
            return self._has_more
        return self._is_of_several and self._total() > MOST

    @property
    def _is_of_several(self) -> bool:
        return len(set(self.selection.users or ())) > 1

    def _total(self) -> int:
        key = "count", replace(self.selection, latest_first=True)
        if key not in self._known:
            self._known[key] = registry.count(self.selection)
        total: int = self._known[key]
        return total

    def holds(self, id: str) -> bool:
        """Whether the session of this id is live and one of these."""
        return bool(self.of_ids([id]))

    def batches(self) -> Iterator[list[Session]]:
        """
        All of them, in batches, for someone who ends each batch before asking for the next.

        Sessions that come up meanwhile cannot make this go on for ever.
        """
        if self.ids is not None:
            rows = self._read()
            yield from (
                rows[at : at + END_MANY_BATCH_SIZE]
                for at in range(0, len(rows), END_MANY_BATCH_SIZE)
            )
            return
        for _ in range(0, self.count(), END_MANY_BATCH_SIZE):
            # Always the first ones: those before them have been ended.
            yield self._dressed(registry.latest(0, END_MANY_BATCH_SIZE, self.selection))

    def _read(self) -> list[Session]:
        if self._rows is None:
            start, stop = self._window
            few = self._few()
            found = self._latest(start, stop) if few is None else few[start:stop]
            self._rows = self._dressed(found)
        return self._rows

    def _few(self) -> list[LiveSession] | None:
        """All there are, where it is narrowed to ids; else ``None``."""
        if self.ids is None:
            return None
        key = self.ids, self.selection
        if key not in self._known:
            self._known[key] = self._found(self.ids)
        found: list[LiveSession] = self._known[key]
        return found

    def _found(self, ids: Sequence[str]) -> list[LiveSession]:
        found = [live for live in registry.find_many(ids) if self._fits(live)]
        return sorted(found, key=lambda live: live.expires, reverse=self.selection.latest_first)

    def _latest(self, start: int, stop: int | None) -> list[LiveSession]:
        end = self.count() if stop is None else stop
        if self._is_of_several:
            end = min(end, MOST)
        found: list[LiveSession] = []
        for at in range(start, end, BATCH_SIZE):
            found += registry.latest(at, min(at + BATCH_SIZE, end), self.selection)
        return found

    def _fits(self, live: LiveSession) -> bool:
        chosen = self.selection
        signed_in = live.user_pk is not None
        if chosen.signed_in is not None and chosen.signed_in is not signed_in:
            return False
        if chosen.users is not None and live.user_pk not in chosen.users:
            return False
        if chosen.within is None:
            return True
        return live.expires <= datetime.now(UTC) + timedelta(seconds=chosen.within)

    def _dressed(self, found: Iterable[LiveSession]) -> list[Session]:
        sessions = [Session.of(live) for live in found]
        self._dress(sessions)
        return sessions
