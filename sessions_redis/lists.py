"""
Lists of live sessions: of all, of those with a user, of those without, and of users' own.

What is asked for is read in parts, a bounded number of sessions in each round trip.

Each is a generator of commands, which `registry` carries out in either world.
"""

from collections.abc import Sequence
from itertools import chain
from operator import itemgetter

from sessions_redis import live
from sessions_redis.clients import Steps
from sessions_redis.live import LiveSession, Selection, Started, drop, indexed, read
from sessions_redis.storage import listings
from sessions_redis.storage.listings import Page, is_short_start, is_start

# How often a part is read again because some of its sessions turned out to be gone.
REREADS = 2

# A search by the first digits of an id looks at this many sessions at most. A step looks at about a
# thousand, which takes a server up to 1 ms.
SEARCHED = 500_000


def count(selection: Selection) -> Steps[int]:
    names, total = _indexes(selection), 0
    for start in range(0, len(names), live.AT_ONCE):
        counts = yield listings.count(names[start : start + live.AT_ONCE], selection.bounds)
        total += sum(number for (number,) in counts)
    return total


def latest(start: int, stop: int, selection: Selection) -> Steps[list[LiveSession]]:
    names = _indexes(selection)
    if len(names) > 1:
        return (yield from _of_users(names, start, stop, selection))
    found: list[LiveSession] = []
    for name in names:
        for at in range(start, stop, live.AT_ONCE):
            total, part = yield from _part(name, at, min(at + live.AT_ONCE, stop), selection)
            found += part
            if at + live.AT_ONCE >= total:
                break
    return _fitting(found, selection)


def _part(
    index: str, start: int, stop: int, selection: Selection
) -> Steps[tuple[int, list[LiveSession]]]:
    """Live sessions of an index, read again where some turned out to be gone; and the total."""
    for _ in range(1 + REREADS):
        page = yield listings.page(
            index,
            selection.bounds,
            start=start,
            stop=stop,
            latest_first=selection.latest_first,
            trim=selection.users is not None,
        )
        found = yield from read(page.ids)
        if len(found) == page.members:
            break
        yield from drop(page, found, index)
    return page.total, found


def _of_users(
    names: Sequence[str], start: int, stop: int, selection: Selection
) -> Steps[list[LiveSession]]:
    """
    Sessions of several users in one order.

    Of each user's index this reads the members up to ``stop``, and then the sessions asked for.
    """
    for _ in range(1 + REREADS):
        now = yield listings.now()
        bounds = now, now + selection.bounds[1]
        of_each = yield [
            listings.first(name, bounds, stop, latest_first=selection.latest_first)
            for name in names
        ]
        # One that changed hands may be in two of them.
        pairs = dict(chain(*of_each)).items()
        ranked = sorted(pairs, key=itemgetter(1), reverse=selection.latest_first)
        page = Page.of(len(ranked), [member for member, _ in ranked[start:stop]])
        found = yield from read(page.ids)
        if len(found) == page.members:
            break
        yield from drop(page, found, *names)
    return _fitting(found, selection)


def _fitting(found: list[LiveSession], selection: Selection) -> list[LiveSession]:
    # A user's index may list a session that is somebody else's by now.
    users = selection.users
    return found if users is None else [one for one in found if one.user_pk in users]


def of_user(user_pk: str, start: int, stop: int | None) -> Steps[list[LiveSession]]:
    index = indexed().user(user_pk)
    first = at = start - start % live.AT_ONCE
    found: list[LiveSession] = []
    parts: list[tuple[Page, list[LiveSession]]] = []
    while stop is None or first + len(found) < stop:
        page = yield listings.page(index, start=at, stop=at + live.AT_ONCE, trim=True)
        part = yield from read(page.ids)
        own = [session for session in part if session.user_pk == user_pk]
        found += sorted(own, key=lambda session: session.created, reverse=True)
        parts.append((page, part))
        at += live.AT_ONCE
        if at >= page.total:
            break
    # Not before all are read: what is dropped moves those that follow.
    for page, part in parts:
        if len(part) < page.members:
            yield from drop(page, part, index)
    return found[start - first : None if stop is None else stop - first]


def starting_with(digits: str) -> Steps[Started]:
    index = indexed().index
    if is_short_start(digits):
        raise ValueError(
            f"Sessions whose IDs start with {digits!r} were not searched for. Fewer than 6 "
            "characters can be the start of too many IDs. Pass 6 or more of the first characters."
        )
    if not is_start(digits):
        return Started(())
    cursor, ids = 0, dict[str, None]()
    for _ in range(0, SEARCHED, listings.AT_ONCE):
        cursor, found = yield listings.starting_with(index, digits, cursor)
        # A server may return a member twice.
        ids |= dict.fromkeys(found)
        if not cursor:
            break
    sessions = yield from read([*ids])
    return Started(tuple(sessions), is_complete=not cursor)


def _indexes(selection: Selection) -> list[str]:
    """The indexes that list the sessions of ``selection``: each user's, or one."""
    keyspace = indexed()
    if selection.users is not None:
        # Without a user there are none of theirs.
        users = dict.fromkeys(selection.users if selection.signed_in is not False else ())
        return [keyspace.user(user_pk) for user_pk in users]
    if selection.signed_in is None:
        return [keyspace.index]
    return [keyspace.signed_in if selection.signed_in else keyspace.anonymous]
