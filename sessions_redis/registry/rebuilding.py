"""List every session again that an index has lost."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from sessions_redis.clients import Steps, perform
from sessions_redis.registry.scanning import scanned
from sessions_redis.registry.selections import indexed
from sessions_redis.storage import layouts, parts, replies, shard_counts
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.listings import LIST_MANY_BATCH_SIZE, is_id


@dataclass(frozen=True, slots=True)
class Progress:
    """
    How far a rebuild has come.

    ``share``: roughly how much of the database it has read, from 0 to 1. ``sessions``: how many
    it has found. ``unlisted``: how many of them were not in each of their indexes. ``removed``: how
    many shards of another ``INDEX_SHARDS`` it has removed at the end.
    """

    share: float
    sessions: int
    unlisted: int
    removed: int = 0


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

    In a Cluster it looks at each node. Then it removes the shards of other numbers than the present
    ``INDEX_SHARDS``, so all processes of the site must have the new number before.

    Calls ``report`` after each step. Raises ``ImproperlyConfigured`` if ``INDEX`` is off, and
    `SessionStoreUnavailable` if Redis is away: the sessions of earlier steps are listed then.
    """
    keyspace, progress = indexed(), Progress(0, 0, 0)
    for ids, share in scanned(keyspace):
        for start in range(0, len(ids), LIST_MANY_BATCH_SIZE):
            batch = ids[start : start + LIST_MANY_BATCH_SIZE]
            live, missing = perform(layouts.list_many(keyspace, batch, only_look=only_look))
            progress = replace(
                progress,
                sessions=progress.sessions + live,
                unlisted=progress.unlisted + missing,
            )
        progress = replace(progress, share=share)
        report(progress)
    if keyspace.is_spread and not only_look:
        progress = replace(progress, removed=perform(_removal(keyspace)))
    return replace(progress, share=1)


def _removal(keyspace: Keyspace) -> Steps[int]:
    """Remove the shards of other numbers than the present one. Returns how many there were."""
    counts = yield shard_counts.in_use(keyspace)
    former = [count for count in counts if count != keyspace.shards]
    # Redis may have lost the numbers that were in use, so this looks for all shards there can be.
    names = shard_counts.indexes(keyspace, [shard_counts.MOST])
    left = [name for name in names if name not in keyspace.indexes]
    removed = yield [
        parts.remove(f"{name}{half}") for name in left for half in ("", ":signed-in", ":anonymous")
    ]
    for name in keyspace.indexes:
        yield from _put_in_order(keyspace, name)
    if former:
        yield shard_counts.forget(keyspace, former)
    return sum(removed[::3])


def _put_in_order(keyspace: Keyspace, name: str) -> Steps[None]:
    """Remove the sessions from an index that another one lists now."""
    cursor, is_first = 0, True
    while cursor or is_first:
        is_first = False
        cursor, members = yield parts.scan(name, cursor)
        texts = [replies.text(member) for member, _ in members]
        others = [
            member
            for member, text in zip(members, texts, strict=True)
            if is_id(text) and keyspace.index_of(text) != name
        ]
        yield parts.unlist(keyspace, name, others)
