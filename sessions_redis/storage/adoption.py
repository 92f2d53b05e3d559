"""
Sessions of a former engine that move in, and the notes that keep ended ones out. Pure.

A session moves in once. Beside it, Redis keeps a note of what became of it for a while. So a
request that read the former engine's copy before, and was slow, cannot bring it back.
"""

from enum import Enum
from typing import Any

from sessions_redis.storage import replies, scripts
from sessions_redis.storage.across_slots import listing
from sessions_redis.storage.across_slots.listing import Listed, texts
from sessions_redis.storage.changes import Changes
from sessions_redis.storage.commands import milliseconds, writing
from sessions_redis.storage.entries import COPIED
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.replies import WrongShape
from sessions_redis.storage.steps import Command, Steps, script_command

# Milliseconds for which a note says what became of a session: longer than any request takes.
KEPT = 600_000

# Milliseconds for which a note says that all sessions of a user were ended. Browsers keep a cookie
# for 400 days at most.
SIGNED_OUT = 400 * 86_400_000


class Adoption(Enum):
    """
    What became of a session of the former engine.

    ``ADOPTED``: it is here now. ``THERE``: it was here already. ``REFUSED``: it was ended or has
    expired here.
    """

    ADOPTED = "adopted"
    THERE = "there"
    REFUSED = "refused"


def adopt(
    keyspace: Keyspace, id: str, ttl: float, changes: Changes, created: int | None = None
) -> Steps[Adoption]:
    """
    Create a session that the former engine has, unless it was here before.

    ``changes`` are all of its entries. ``created``: when it began, in epoch seconds, if known. It
    is listed, as a session that signs in is, before any request can read it here.
    """
    marked = changes._replace(written={**changes.written, COPIED: b"1"})
    if keyspace.is_spread:
        return _adopt_across_slots(keyspace, id, ttl, marked, created)
    return _adopt_in_one_slot(keyspace, id, ttl, marked, created)


def _adopt_in_one_slot(
    keyspace: Keyspace, id: str, ttl: float, changes: Changes, created: int | None
) -> Steps[Adoption]:
    moved, user = keyspace.moved(id), changes.user
    keys = (keyspace.session(id), moved, keyspace.signed_out(user) if user else moved)
    answer: Adoption = yield script_command(
        scripts.ADOPT,
        (*keys, keyspace.index) if keyspace.indexed else keys,
        (
            id, keyspace.users if keyspace.indexed else "", KEPT, int(keyspace.is_shared),
            _text(created), *writing(ttl, changes),
        ),
        lambda reply: _adoption(replies.text(reply)),
        awaits_replicas=True,
    )  # fmt: skip
    return answer


def _adopt_across_slots(
    keyspace: Keyspace, id: str, ttl: float, changes: Changes, created: int | None
) -> Steps[Adoption]:
    # The session is listed before it is asked whether all of its user's sessions were ended: that
    # note is written before the sessions are looked up in the index.
    ttl_ms, user, known, attempt = milliseconds(ttl), changes.user or "", Listed(), 0
    if keyspace.indexed and ttl_ms > 0:
        known = yield from listing.enlist(keyspace, id, user, ttl_ms)
    said = "refused"
    if not (user and (yield from _is_signed_out(keyspace, id, user))):
        said, *more = yield _put(keyspace, id, ttl, changes, created, known)
    while said == "list":
        attempt += 1
        known = yield from listing.enlist(keyspace, id, user, ttl_ms, more[0], attempt)
        said, *more = yield _put(keyspace, id, ttl, changes, created, known)
    if said == "refused" and known.until:
        yield listing.delisting(keyspace, [(id, user)])
    return _adoption(said)


def _is_signed_out(keyspace: Keyspace, id: str, user: str) -> Steps[bool]:
    spared = yield Command(
        ("HMGET", keyspace.signed_out(user), "spared"), _first, read_wrong_type=lambda: None
    )
    return spared is not None and spared != id


def _first(reply: Any) -> str | None:
    (value,) = replies.listing(reply, 1)
    return None if value is None else replies.text(value)


def _put(
    keyspace: Keyspace, id: str, ttl: float, changes: Changes, created: int | None, known: Listed
) -> Command[tuple[str, ...]]:
    return script_command(
        scripts.ACROSS_ADOPT,
        (keyspace.session(id), keyspace.moved(id)),
        (*known, _text(created), KEPT, int(keyspace.is_shared), *writing(ttl, changes)),
        texts,
        awaits_replicas=True,
    )


def _text(created: int | None) -> str:
    return "" if created is None else str(created)


def _adoption(said: str) -> Adoption:
    try:
        return Adoption(said)
    except ValueError:
        raise WrongShape("expected the reply to an adoption, got other text") from None


def settle(keyspace: Keyspace, id: str) -> Command[bool]:
    """Note that the former engine has no copy of this session any more."""
    return script_command(scripts.SETTLE, (keyspace.session(id),), (), replies.flag)


def tombstone(keyspace: Keyspace, id: str, kept: float = 0) -> Command[bool]:
    """
    Note that this session is about to be ended, so that it never moves in again.

    The note stays for ten minutes, for ``kept`` seconds if that is longer, and as long as the
    session would live if the former engine may have a copy.
    """
    lasts = max(KEPT, milliseconds(kept))
    keys = (keyspace.session(id), keyspace.moved(id))
    return script_command(scripts.TOMBSTONE, keys, (lasts,), replies.flag, awaits_replicas=True)


def sign_out(keyspace: Keyspace, user_pk: str, spared_id: str = "") -> Command[bool]:
    """Note that all sessions of this user are ended but one: none of them moves in any more."""
    return script_command(
        scripts.SIGN_OUT, (keyspace.signed_out(user_pk),), (spared_id, SIGNED_OUT), replies.flag,
        awaits_replicas=True,
    )  # fmt: skip
