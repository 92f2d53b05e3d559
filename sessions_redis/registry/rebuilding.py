"""List every session again that an index has lost."""

from collections.abc import Callable
from dataclasses import dataclass

from sessions_redis.clients import run
from sessions_redis.registry.selections import indexed
from sessions_redis.storage import listings
from sessions_redis.storage.listings import BATCH_SIZE, LIST_MANY_BATCH_SIZE


@dataclass(frozen=True, slots=True)
class Progress:
    """
    How far a rebuild has come.

    ``share``: roughly how much of the database it has read, from 0 to 1. ``sessions``: how many
    it has found. ``unlisted``: how many of them were not in each of their indexes.
    """

    share: float
    sessions: int
    unlisted: int


def rebuild(
    *, only_look: bool = False, report: Callable[[Progress], None] = lambda _: None
) -> Progress:
    """
    List each session that an index does not list, or not under its user.

    Looks at all keys of the database, about a thousand in each step. Each step lists its sessions
    atomically, so this can run beside the site: it never lists a session that has ended, and a
    new session is listed when it is created. ``only_look``: count them, and write nothing.
    If the database grows or shrinks by much meanwhile, Redis may return a session twice; then it is
    counted twice.

    Calls ``report`` after each step. Raises ``ImproperlyConfigured`` if ``INDEX`` is off, and
    `SessionStoreUnavailable` if Redis is away: the sessions of earlier steps are listed then.
    """
    keyspace, total = indexed(), max(run(listings.keys()), 1)
    looked_at = unlisted = sessions = 0
    cursor, is_first = 0, True
    while cursor or is_first:
        is_first = False
        cursor, ids = run(listings.session_ids(keyspace, cursor))
        looked_at += BATCH_SIZE
        for start in range(0, len(ids), LIST_MANY_BATCH_SIZE):
            batch = ids[start : start + LIST_MANY_BATCH_SIZE]
            live, missing = run(listings.list_many(keyspace, batch, only_look=only_look))
            sessions += live
            unlisted += missing
        report(Progress(min(looked_at / total, 1) if cursor else 1, sessions, unlisted))
    return Progress(1, sessions, unlisted)
