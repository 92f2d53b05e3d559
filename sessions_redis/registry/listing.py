"""Count and list sessions, and remove expired members from the indexes."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import chain
from math import inf
from operator import attrgetter, itemgetter
from typing import Any

from sessions_redis import conf
from sessions_redis.clients import Steps, aperform, perform
from sessions_redis.registry import indexes, positions, spread, trimming
from sessions_redis.registry.live_sessions import LiveSession, read, user_pk_of
from sessions_redis.registry.selections import ALL, Selection, indexed, indexes_of
from sessions_redis.storage import listings
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.listings import BATCH_SIZE, MARGIN, Page

# The most times that a part of a list is read again because some of its members were dead.
REREADS = 2

# By which of their times, the latest first, the sessions of a user can be listed.
ORDERS = ("created", "last_active")

# How many thousands of dead members are removed at most where a page begins.
SWEEPS = 50


def _count(selection: Selection) -> Steps[int]:
    keyspace, total = indexed(), 0
    if keyspace.is_spread:
        return (yield from positions.count(keyspace, selection))
    names = indexes_of(keyspace, selection)
    for start in range(0, len(names), BATCH_SIZE):
        some = names[start : start + BATCH_SIZE]
        if selection.within is None:
            counts = yield listings.count(some, (0, inf))
            total += sum(number for (number,) in counts)
        else:
            within = selection.within
            pages = yield [listings.page(keyspace, name, within, start=0, stop=0) for name in some]
            total += sum(page.total for page in pages)
    return total


def count(selection: Selection = ALL) -> int:
    """
    Count the sessions that have not expired, by the index and the server's clock.

    A session that expired without being ended may be counted for up to 20 minutes longer.
    Takes one round trip, and one for each further thousand of users that the selection names.
    """
    return perform(_count(selection))


async def acount(selection: Selection = ALL) -> int:
    return await aperform(_count(selection))


def _by_time_left(bounds: Sequence[float]) -> Steps[tuple[list[int], list[int]]]:
    keyspace = indexed()
    # A session that was saved a moment ago is listed for a margin longer than it lives.
    listed = [bound + listings.margin(bound) for bound in bounds]
    if keyspace.is_spread:
        return (yield from indexes.by_time_left(keyspace, listed))
    signed_in, anonymous = yield listings.count([keyspace.signed_in, keyspace.anonymous], listed)
    return signed_in, anonymous


def by_time_left(bounds: Sequence[float]) -> tuple[list[int], list[int]]:
    """
    Count the sessions between each bound and the next: those with a user, and those without.

    ``bounds``: seconds left, rising. A session within ten minutes of a bound may be counted on its
    other side. Takes one round trip.
    """
    return perform(_by_time_left(bounds))


async def aby_time_left(bounds: Sequence[float]) -> tuple[list[int], list[int]]:
    return await aperform(_by_time_left(bounds))


def _latest(start: int, stop: int, selection: Selection) -> Steps[list[LiveSession]]:
    keyspace = indexed()
    names = indexes_of(keyspace, selection)
    if keyspace.is_spread:
        return (yield from _spread(keyspace, names, start, stop, selection))
    if len(names) > 1:
        return (yield from _of_users(keyspace, names, start, stop, selection))
    found: list[LiveSession] = []
    for name in names:
        for at in range(start, stop, BATCH_SIZE):
            total, part = yield from _part(
                keyspace, name, at, min(at + BATCH_SIZE, stop), selection
            )
            found += part
            if at + BATCH_SIZE >= total:
                break
    return _fitting(found, selection)


def _spread(
    keyspace: Keyspace, names: Sequence[str], start: int, stop: int, selection: Selection
) -> Steps[list[LiveSession]]:
    is_deep = len(names) == 1 and stop > BATCH_SIZE
    if selection.users is not None and not is_deep:
        found = yield from spread.of_users(keyspace, names, start, stop, selection)
        return _fitting(found, selection)
    found = []
    for at in range(start, stop, BATCH_SIZE):
        total, part = yield from spread.page(keyspace, selection, at, min(at + BATCH_SIZE, stop))
        found += part
        if at + BATCH_SIZE >= total:
            break
    return _fitting(found, selection)


def latest(start: int = 0, stop: int = 50, selection: Selection = ALL) -> list[LiveSession]:
    """
    List the live sessions from ``start`` up to, but not including, ``stop``.

    The last to expire come first. The order is that of the indexes, which can be wrong by up to 20
    minutes. The sessions that one call returns are in exact order, up to a thousand of them.
    If the selection names several users, this reads ``stop`` members of each user's index.
    """
    return perform(_latest(start, stop, selection))


async def alatest(start: int = 0, stop: int = 50, selection: Selection = ALL) -> list[LiveSession]:
    return await aperform(_latest(start, stop, selection))


def _of_user(
    user: Any, start: int, stop: int | None, order: str = "created"
) -> Steps[list[LiveSession]]:
    if order not in ORDERS:
        raise ValueError(f"order is {order!r}. It can be {' or '.join(map(repr, ORDERS))}.")
    user_pk = user_pk_of(user)
    keyspace = indexed()
    index = keyspace.user(user_pk)
    first = at = start - start % BATCH_SIZE
    found: list[LiveSession] = []
    parts: list[tuple[Page, list[LiveSession]]] = []
    while stop is None or first + len(found) < stop:
        if keyspace.is_spread:
            page, part = yield from spread.of_user(keyspace, index, at, trims=at == first)
        else:
            page = yield listings.page(keyspace, index, start=at, stop=at + BATCH_SIZE, trim=True)
            part = yield from read(keyspace, page.ids)
        own = [session for session in part if session.user_pk == user_pk]
        found += sorted(own, key=attrgetter(order), reverse=True)
        parts.append((page, part))
        at += BATCH_SIZE
        if at >= page.total:
            break
    # Only after all pages are read: removing members moves later ones.
    for page, part in [] if keyspace.is_spread else parts:
        if len(part) < page.members:
            yield from _drop(keyspace, page, part, index)
    return found[start - first : None if stop is None else stop - first]


def of_user(
    user: Any, start: int = 0, stop: int | None = None, *, order: str = "created"
) -> list[LiveSession]:
    """
    List the sessions of ``user``, a user or a primary key, from ``start`` up to ``stop``.

    ``stop`` itself is not included.

    The newest comes first: the session that was created last. With the ``order`` "last_active", the
    session that was used last comes first. Either order is exact for a user with up to 1,000
    sessions. Of more sessions, the 1,000 that expire last come first, in that order; then the next
    1,000, and so on. A part of the list is found by reading the thousands that it is in, with two
    round trips each.
    """
    return perform(_of_user(user, start, stop, order))


async def aof_user(
    user: Any, start: int = 0, stop: int | None = None, *, order: str = "created"
) -> list[LiveSession]:
    return await aperform(_of_user(user, start, stop, order))


def _part(
    keyspace: Keyspace, index: str, start: int, stop: int, selection: Selection
) -> Steps[tuple[int, list[LiveSession]]]:
    """Live sessions of an index, read again if some members were dead; and the total."""
    page, found = yield from _page(keyspace, index, start, stop, selection)
    for _ in range(1 + REREADS):
        if len(found) == page.members:
            break
        yield from _sweep(keyspace, index, start, selection)
        page, found = yield from _page(keyspace, index, start, stop, selection)
    return page.total, _by_expiry(found, selection)


def _page(
    keyspace: Keyspace, index: str, start: int, stop: int, selection: Selection
) -> Steps[tuple[Page, list[LiveSession]]]:
    page = yield listings.page(
        keyspace,
        index,
        selection.longest,
        start=start,
        stop=stop,
        latest_first=selection.latest_first,
        trim=selection.users is not None,
    )
    return page, (yield from read(keyspace, page.ids))


def _sweep(keyspace: Keyspace, index: str, start: int, selection: Selection) -> Steps[None]:
    """Remove dead members from where a page begins on, so that live ones move up."""
    others = {keyspace.index, keyspace.signed_in, keyspace.anonymous} - {index}
    for _ in range(SWEEPS):
        looked_at, gone = yield listings.sweep(
            keyspace,
            index,
            selection.longest,
            sorted(others),
            start=start,
            latest_first=selection.latest_first,
        )
        if gone < looked_at or not gone:
            break


def _sweep_dead(
    keyspace: Keyspace,
    names: Sequence[str],
    of_each: Sequence[Sequence[tuple[bytes, float]]],
    found: Sequence[LiveSession],
    selection: Selection,
) -> Steps[None]:
    """Remove dead members from the start of the indexes whose members were mostly dead."""
    live = {session.id.encode() for session in found}
    dead = [
        name
        for name, members in zip(names, of_each, strict=True)
        if sum(member not in live for member, _ in members) * 2 > len(members)
    ]
    for name in dead[:SWEEPS]:
        yield from _sweep(keyspace, name, 0, selection)


def _by_expiry(found: list[LiveSession], selection: Selection) -> list[LiveSession]:
    return sorted(found, key=attrgetter("expires"), reverse=selection.latest_first)


def _of_users(
    keyspace: Keyspace, names: Sequence[str], start: int, stop: int, selection: Selection
) -> Steps[list[LiveSession]]:
    """
    Sessions of several users in one order.

    This reads the members up to ``stop`` of each user's index, and then the requested sessions.
    If the selection limits the time left, this reads 1,000 more members of each index, and all
    sessions up to ``stop``.
    """
    is_limited = selection.within is not None
    margins, more = (2 * MARGIN, BATCH_SIZE) if is_limited else (0, 0)
    for _ in range(1 + REREADS):
        now = yield listings.now()
        until = now + selection.longest + margins
        of_each = yield [
            listings.first(name, now, until, stop + more, latest_first=selection.latest_first)
            for name in names
        ]
        # A session that changed its user may be in two of them.
        pairs = dict(chain(*of_each)).items()
        ranked = sorted(pairs, key=itemgetter(1), reverse=selection.latest_first)
        wanted = ranked[: stop + more] if is_limited else ranked[start:stop]
        page = Page.of(len(ranked), [member for member, _ in wanted])
        found = yield from read(keyspace, page.ids)
        if len(found) == page.members:
            break
        yield from _drop(keyspace, page, found, *names)
        if len(found) * 2 < page.members:
            yield from _sweep_dead(keyspace, names, of_each, found, selection)
    found = _by_expiry(found, selection)
    if selection.within is not None:
        latest = datetime.fromtimestamp(now + selection.within, UTC)
        found = [session for session in found if session.expires <= latest][start:stop]
    return _fitting(found, selection)


def _fitting(found: list[LiveSession], selection: Selection) -> list[LiveSession]:
    # An index may list a session that has another user by now, or none.
    users, signed_in = selection.users, selection.signed_in
    return [
        one
        for one in found
        if (users is None or one.user_pk in users)
        and (signed_in is None or signed_in == (one.user_pk is not None))
    ]


def _drop(keyspace: Keyspace, page: Page, found: Sequence[LiveSession], *more: str) -> Steps[None]:
    """Remove the members of ``page`` that were not found from the indexes of all, and ``more``."""
    live = {session.id for session in found}
    names = [keyspace.index, keyspace.signed_in, keyspace.anonymous, *more]
    gone: list[str | bytes] = [*page.strays, *(id for id in page.ids if id not in live)]
    size = max(listings.BATCH_SIZE - len(names), 1)
    for start in range(0, len(gone), size):
        yield listings.drop(keyspace, names, gone[start : start + size])


def _trim() -> Steps[int]:
    keyspace = conf.current().keyspace
    if not keyspace.indexed:
        return 0
    if keyspace.is_spread:
        halves = ("", ":signed-in", ":anonymous")
        of_all = yield from indexes.of_each(keyspace, "", lambda _: [])
        names = [f"{name}{half}" for name in of_all for half in halves]
        return (yield from trimming.trim(keyspace, names))
    total = 0
    for index in (keyspace.index, keyspace.signed_in, keyspace.anonymous):
        removed = BATCH_SIZE
        while removed == BATCH_SIZE:
            removed = yield listings.trim(index)
            total += removed
    return total


def trim() -> int:
    """
    Remove expired members from the indexes of all sessions, and return how many there were.

    Removes a bounded number in each round trip, so that nobody waits long. Without indexes: 0.
    """
    return perform(_trim())


async def atrim() -> int:
    return await aperform(_trim())
