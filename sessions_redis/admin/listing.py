"""Lists sessions from Redis with the interface of a queryset, as the admin needs it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from types import SimpleNamespace
from typing import Any, NoReturn

from django.db import NotSupportedError
from django.db.models import Q

from sessions_redis import registry
from sessions_redis.admin.activity import LOOKED_AT, NO_MATTER
from sessions_redis.models import Session
from sessions_redis.registry import ALL, LiveSession, Started
from sessions_redis.storage.listings import BATCH_SIZE, END_MANY_BATCH_SIZE

# The most sessions in a listing of several users. To reach later ones, Redis would have to read as
# many members of each user's index.
SEVERAL_USERS_LIMIT = 1000


class NotOffered(NotSupportedError, AttributeError):  # noqa: N818 - as NotSupportedError itself
    """A listing of sessions does not support this feature of querysets."""


class Listing:
    """
    Sessions of a `Selection` of the registry, in order. Reads Redis when it is evaluated.

    With an `Activity`, it has only the sessions that match among the first `LOOKED_AT`.

    It supports what the admin does with a queryset to list, find and select objects. Anything else
    raises `NotOffered`. ``ids``: if not ``None``, only sessions with these IDs. ``annotate``: is
    called with each batch of sessions, to add what the registry does not know. ``is_complete``:
    whether a search for the start of an ID looked at all sessions.

    Listings that derive from each other share counts and results, so the numbers on a page agree.
    """

    model = Session
    ordered = totally_ordered = True
    query = SimpleNamespace(select_related=False, order_by=())

    def __init__(self, annotate: Callable[[Sequence[Session]], None] = lambda _: None) -> None:
        self.selection = ALL
        self.activity = NO_MATTER
        self.ids: tuple[str, ...] | None = None
        self.capped = False
        self.is_complete = True
        self._has_more = False
        self._annotate = annotate
        self._cache: dict[Any, Any] = {}
        self._window: tuple[int, int | None] = (0, None)
        self._rows: list[Session] | None = None

    def __getattr__(self, name: str) -> NoReturn:
        raise NotOffered(
            f"The listing of sessions in the admin does not support {name!r}, because sessions "
            "are stored in Redis. You can count, slice and iterate over it. For anything else, "
            "use sessions_redis.registry."
        )

    # As a queryset

    def count(self) -> int:
        whole = self._whole()
        if whole is not None:
            return len(whole)
        return min(self._total(), SEVERAL_USERS_LIMIT) if self._is_of_several else self._total()

    def exists(self) -> bool:
        return self.count() > 0

    def all(self) -> "Listing":
        return self._clone()

    def order_by(self, *names: str) -> "Listing":
        """Order by expiry or activity, by the first of ``names`` that is one of them."""
        orders = [name for name in names if name.lstrip("-") in {"expires", "last_active"}]
        first = orders[0] if orders else "-expires"
        if first.endswith("last_active"):
            return self.by_activity(latest_first=first.startswith("-"))
        ordered = self.by_activity(latest_first=None)
        return ordered.select(latest_first=first.startswith("-"))

    def filter(self, *conditions: Q, **lookups: Any) -> "Listing":
        """Filter by primary keys. Raises `NotOffered` for anything else."""
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
        raise Session.DoesNotExist("There is no session with this ID.")

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
        """Change the `Selection` that is listed."""
        clone = self._clone()
        clone.selection = replace(self.selection, **changes)
        return clone

    def by_activity(self, **changes: Any) -> "Listing":
        """Change the `Activity` that is listed."""
        clone = self._clone()
        clone.activity = replace(self.activity, **changes)
        return clone

    def of_users(self, pks: Iterable[str], *, capped: bool = False) -> "Listing":
        """Only sessions of these users. ``capped``: whether more users match than these."""
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
        """Only sessions that a search found by the start of their ID, and those in ``theirs``."""
        lives = (
            registry.latest(0, SEVERAL_USERS_LIMIT, theirs.selection)
            if theirs.selection.users
            else []
        )
        found = self.of_ids(live.id for live in (*started.sessions, *lives))
        found.capped, found.is_complete = theirs.capped, started.is_complete
        found._has_more = (
            len(lives) == SEVERAL_USERS_LIMIT and theirs._total() > SEVERAL_USERS_LIMIT
        )
        return found

    @property
    def is_of_all(self) -> bool:
        """Whether this has all sessions of the site."""
        is_chosen = self.ids is not None or self.activity.within is not None
        return not is_chosen and replace(self.selection, latest_first=True) == ALL

    @property
    def is_cut(self) -> bool:
        """Whether this has only the first `SEVERAL_USERS_LIMIT` sessions of several users."""
        if self.ids is not None:
            return self._has_more
        if self.activity:
            return False
        return self._is_of_several and self._total() > SEVERAL_USERS_LIMIT

    @property
    def is_partial(self) -> bool:
        """Whether it looked at the activity of only the first `LOOKED_AT` sessions."""
        return bool(self.ids is None and self.activity) and self._total() > LOOKED_AT

    @property
    def _is_of_several(self) -> bool:
        return len(set(self.selection.users or ())) > 1

    def _total(self) -> int:
        key = "count", replace(self.selection, latest_first=True)
        if key not in self._cache:
            self._cache[key] = registry.count(self.selection)
        total: int = self._cache[key]
        return total

    def holds(self, id: str) -> bool:
        """Whether the session with this ID exists and is in this listing."""
        return bool(self.of_ids([id]))

    def batches(self, *, spared: int = 0) -> Iterator[list[Session]]:
        """
        Yield all sessions in batches. The caller must end each batch before it takes the next.
        It may leave ``spared`` sessions alone.

        The number of batches is fixed at the start, so new sessions cannot make this endless. Each
        batch fits into one command, so that a lost reply affects only the sessions of one batch.
        """
        if self.ids is not None or self.activity:
            rows = self._read()
            yield from (
                rows[at : at + END_MANY_BATCH_SIZE]
                for at in range(0, len(rows), END_MANY_BATCH_SIZE)
            )
            return
        for _ in range(0, self.count(), END_MANY_BATCH_SIZE - spared):
            # Always the first sessions: those of earlier batches have been ended.
            yield self._annotated(registry.latest(0, END_MANY_BATCH_SIZE, self.selection))

    def _read(self) -> list[Session]:
        if self._rows is None:
            start, stop = self._window
            whole = self._whole()
            found = self._latest(start, stop) if whole is None else whole[start:stop]
            self._rows = self._annotated(found)
        return self._rows

    def _whole(self) -> list[LiveSession] | None:
        """All sessions, if the listing is limited to IDs or by activity; otherwise ``None``."""
        if self.ids is None and not self.activity:
            return None
        key = self.ids, self.selection, self.activity
        if key not in self._cache:
            self._cache[key] = self._read_whole()
        found: list[LiveSession] = self._cache[key]
        return found

    def _read_whole(self) -> list[LiveSession]:
        if self.ids is None:
            lives = registry.latest(0, LOOKED_AT, replace(self.selection, latest_first=True))
        else:
            lives = [one for one in registry.find_many(self.ids) if self._matches_selection(one)]
        found = [live for live in lives if self.activity.matches(live)]
        found.sort(key=attrgetter("expires"), reverse=self.selection.latest_first)
        return self.activity.sorted(found)

    def _latest(self, start: int, stop: int | None) -> list[LiveSession]:
        end = self.count() if stop is None else stop
        if self._is_of_several:
            end = min(end, SEVERAL_USERS_LIMIT)
        found: list[LiveSession] = []
        for at in range(start, end, BATCH_SIZE):
            found += registry.latest(at, min(at + BATCH_SIZE, end), self.selection)
        return found

    def _matches_selection(self, live: LiveSession) -> bool:
        chosen = self.selection
        signed_in = live.user_pk is not None
        if chosen.signed_in is not None and chosen.signed_in is not signed_in:
            return False
        if chosen.users is not None and live.user_pk not in chosen.users:
            return False
        if chosen.within is None:
            return True
        return live.expires <= datetime.now(UTC) + timedelta(seconds=chosen.within)

    def _annotated(self, found: Iterable[LiveSession]) -> list[Session]:
        sessions = [Session.of(live) for live in found]
        self._annotate(sessions)
        return sessions
