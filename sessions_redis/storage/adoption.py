"""
Sessions of a former engine that move in, and the notes that keep ended ones out. Pure.

A session moves in once. Beside it, Redis keeps a note of what became of it for a while. So a
request that read the former engine's copy before, and was slow, cannot bring it back.
"""

from enum import Enum
from typing import Any, NamedTuple

from sessions_redis.storage import replies, scripts
from sessions_redis.storage.across_slots import capping, listing
from sessions_redis.storage.across_slots.listing import Listed, texts
from sessions_redis.storage.changes import Changes
from sessions_redis.storage.commands import milliseconds, writing
from sessions_redis.storage.entries import COPIED
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.replies import WrongShape
from sessions_redis.storage.rules import Written
from sessions_redis.storage.steps import Command, Steps, script_command

# Milliseconds for which a note says what became of a session: longer than any request takes.
KEPT = 600_000

# Milliseconds for which a note stays that keeps out what may be in the former engine for an unknown
# time. Browsers keep a cookie for 400 days at most.
LONGEST = 400 * 86_400_000

# What the field `COPIED` says: the former engine may have a copy that is of no use any more, or one
# that its workers may have written last.
STALE, SHARED = b"1", b"shared"


class Adoption(Enum):
    """
    What became of a session of the former engine.

    ``ADOPTED``: it is here now. ``THERE``: it was here already. ``REFUSED``: it was ended or has
    expired here.
    """

    ADOPTED = "adopted"
    THERE = "there"
    REFUSED = "refused"


class Times(NamedTuple):
    """When the former engine began a session (epoch seconds), and saved it last (ms), if known."""

    created: int | None = None
    saved: int | None = None


UNKNOWN = Times()


def adopt(
    keyspace: Keyspace, id: str, ttl: float, changes: Changes, times: Times = UNKNOWN
) -> Steps[Adoption | Written]:
    """
    Create a session that the former engine has, unless it was here before.

    `Written` is `Adoption.ADOPTED` as well: it names the sessions that ended because their user had
    too many.

    If it is here because the stores were shared, the former engine's copy takes its place, once:
    workers of that engine may have written it last.

    ``changes`` are all of its entries. It is listed, as a session that signs in is, before any
    request can read it here.
    """
    copied = SHARED if keyspace.is_shared else STALE
    marked = changes._replace(written={**changes.written, COPIED: copied})
    if keyspace.is_spread:
        return _adopt_across_slots(keyspace, id, ttl, marked, times)
    return _adopt_in_one_slot(keyspace, id, ttl, marked, times)


def _kept(keyspace: Keyspace, ttl: float) -> int | str:
    """
    Milliseconds for which a note says that a session moved in; ``""`` for no note.

    It stays as long as the former engine's copy lives, until that one is deleted.
    """
    return "" if keyspace.is_shared else min(max(KEPT, milliseconds(ttl)), LONGEST)


def _adopt_in_one_slot(
    keyspace: Keyspace, id: str, ttl: float, changes: Changes, times: Times
) -> Steps[Adoption | Written]:
    moved, user = keyspace.moved(id), changes.user
    keys = (keyspace.session(id), moved, keyspace.signed_out(user) if user else moved)
    answer: Adoption | Written = yield script_command(
        scripts.ADOPT,
        (*keys, keyspace.index) if keyspace.indexed else keys,
        (
            id, keyspace.users if keyspace.indexed else "", _kept(keyspace, ttl),
            _text(times.saved), _text(times.created), *writing(ttl, changes),
        ),
        _adopted,
        awaits_replicas=True,
    )  # fmt: skip
    return answer


def _adopt_across_slots(
    keyspace: Keyspace, id: str, ttl: float, changes: Changes, times: Times
) -> Steps[Adoption | Written]:
    # The session is listed before it is asked whether all of its user's sessions were ended: that
    # note is written before the sessions are looked up in the index.
    ttl_ms, user, known, attempt = milliseconds(ttl), changes.user or "", Listed(), 0
    if keyspace.indexed and ttl_ms > 0:
        known = yield from listing.enlist(keyspace, id, user, ttl_ms)
    said, rules = "refused", changes.rules
    is_allowed = not (user and (yield is_signed_out(keyspace, id, user, times.saved)))
    if is_allowed:
        is_allowed = (yield from capping.refusal(keyspace, id, user, rules, known)) is None
    if is_allowed:
        said, *more = yield _put(keyspace, id, ttl, changes, times, known)
    while said == "list":
        attempt += 1
        known = yield from listing.enlist(keyspace, id, user, ttl_ms, more[0], attempt)
        said, *more = yield _put(keyspace, id, ttl, changes, times, known)
    if said == "refused" and known.until:
        yield listing.delisting(keyspace, [(id, user)])
    done = (yield from capping.kept(keyspace, id, user, rules)) if said == "adopted" else None
    return done if isinstance(done, Written) else _adoption(said)


def _adopted(reply: Any) -> Adoption | Written:
    if type(reply) is not list:
        return _adoption(replies.text(reply))
    said = texts(reply)
    if said[:2] != ("adopted", "ended"):
        raise WrongShape("expected the reply to an adoption, got other text")
    return Written.and_ended(said[2:])


def is_signed_out(keyspace: Keyspace, id: str, user: str, saved: int | None) -> Command[bool]:
    """Whether a session does not move in because all sessions of its user were ended."""
    keys = (keyspace.signed_out(user),)
    return script_command(scripts.SIGNED_OUT, keys, (id, _text(saved)), replies.flag)


def _put(
    keyspace: Keyspace, id: str, ttl: float, changes: Changes, times: Times, known: Listed
) -> Command[tuple[str, ...]]:
    return script_command(
        scripts.ACROSS_ADOPT,
        (keyspace.session(id), keyspace.moved(id)),
        (*known, _text(times.created), _kept(keyspace, ttl), *writing(ttl, changes)),
        texts,
        awaits_replicas=True,
    )


def _text(time: int | None) -> str:
    return "" if time is None else str(time)


def _adoption(said: str) -> Adoption:
    try:
        return Adoption(said)
    except ValueError:
        raise WrongShape("expected the reply to an adoption, got other text") from None


def settle(keyspace: Keyspace, id: str) -> Command[bool]:
    """Note that the former engine has no copy of this session any more."""
    keys = (keyspace.session(id), keyspace.moved(id))
    return script_command(scripts.SETTLE, keys, (KEPT,), replies.flag)


def unshare(keyspace: Keyspace, id: str) -> Command[bool]:
    """
    Delete a session that was shared with workers of the former engine, and that is gone there.

    If it has moved in meanwhile, it stays. If not, readers of the indexes remove it there.
    """
    keys = (keyspace.session(id), keyspace.moved(id))
    return script_command(scripts.UNSHARE, keys, (), replies.flag)


def tombstone(
    keyspace: Keyspace, id: str, *, by_id: bool = False, lasts: bool = False
) -> Command[bool]:
    """
    Note that this session is about to be ended, so that it never moves in again.

    The note stays for ten minutes, and longer if the former engine may have a copy. ``by_id``: the
    key is not known, so that copy cannot be deleted. ``lasts``: it could not be. Then the note
    stays as long as a browser keeps a cookie.
    """
    keys = (keyspace.session(id), keyspace.moved(id))
    kept = (LONGEST if lasts else KEPT, LONGEST if by_id else "")
    return script_command(scripts.TOMBSTONE, keys, kept, replies.flag, awaits_replicas=True)


def sign_out(keyspace: Keyspace, user_pk: str, spared_id: str = "") -> Command[bool]:
    """
    Note that all sessions of this user are ended but one: none of them moves in any more.

    If workers of the former engine still run, the user may sign in there again. So what they save
    later moves in.
    """
    return script_command(
        scripts.SIGN_OUT,
        (keyspace.signed_out(user_pk),),
        (spared_id, LONGEST, int(keyspace.is_shared)),
        replies.flag,
        awaits_replicas=True,
    )
