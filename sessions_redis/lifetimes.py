"""
How long a session may live whatever its visitor does, and how often saves prolong it.

``ABSOLUTE_AGE`` gives each session an end, which is kept in its field ``@ends``: see
lifetimes.lua. It begins anew when the visitor signs in. With ``TOUCH_INTERVAL``, a save that
changes nothing is left out if another save was sent a short time ago. docs/lifetimes.md explains
both to site owners.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

from sessions_redis import ages, conf, notices, reasons
from sessions_redis.base import StoreBase
from sessions_redis.calls import StoreSteps
from sessions_redis.clock import server_clock
from sessions_redis.storage import layouts
from sessions_redis.storage.changes import Changes
from sessions_redis.storage.entries import (
    CREATED,
    ENDS,
    RENEWED,
    USER_KEY,
    is_moment,
    is_time,
)
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.rules import AGES, BEGINS, ENDS_AT, NEVER, RENEWS
from sessions_redis.storage.steps import Argument


class Begun(NamedTuple):
    """
    How long a session may live that begins with the next write: ms in text, or `NEVER`.

    ``user``: the primary key in text, of the user for whom this was asked. ``by_login``: the user
    has just signed in, so that the session begins anew.
    """

    user: str
    age: str
    by_login: bool = False


# The rules of writes


def begin(store: StoreBase, user_pk: str) -> StoreSteps[dict[str, Argument]]:
    """The rules for a session that begins."""
    asked = _renewing()
    if conf.current().absolute_age is not None:
        begun = store._begun
        if begun is None or begun.user != user_pk:
            begun = store._begun = Begun(user_pk, (yield from ages.asked(user_pk)))
        asked[BEGINS] = begun.age
    return asked


def go_on(store: StoreBase, id: str | None, user_pk: str) -> StoreSteps[dict[str, Argument]]:
    """The rules for a session that was begun before, under this ``id``."""
    asked, setting = _renewing(), conf.current().absolute_age
    begun = store._begun
    if begun and begun.by_login and begun.user == user_pk:
        asked[BEGINS] = begun.age
    elif setting is not None and _held(store, id).get(ENDS) is None:
        asked[AGES] = yield from ages.asked(user_pk)
    return asked


def copy(store: StoreBase, id: str | None, user_pk: str) -> StoreSteps[dict[str, Argument]]:
    """The rules for a session that begins with the entries of this one, and ends when it does."""
    asked = yield from go_on(store, id, user_pk)
    held, age = _held(store, id), asked.pop(AGES, None)
    if ENDS in held:
        asked[ENDS_AT] = held[ENDS]
    elif age is not None:
        asked[ENDS_AT] = _end_of(held, str(age))
    return asked


def move_in(user_pk: str) -> StoreSteps[dict[str, Argument]]:
    """The rules for a session of another engine: it counts from when it was begun, if known."""
    asked = _renewing()
    if conf.current().absolute_age is not None:
        asked[AGES] = yield from ages.asked(user_pk)
    return asked


def _renewing() -> dict[str, Argument]:
    return {RENEWS: 1} if conf.current().touch_interval else {}


def _held(store: StoreBase, id: str | None) -> Mapping[bytes, bytes]:
    """The fields that Redis was last known to hold for the session ``id``."""
    for known in (store._known, store._last_loaded):
        if known and known.id == id and (ENDS in known.fields or CREATED in known.fields):
            return known.fields
    return {}


def _end_of(held: Mapping[bytes, bytes], age: str) -> str:
    created = held.get(CREATED)
    from_ms = int(created) * 1000 if is_time(created) else int(server_clock.now() * 1000)
    return NEVER if age == NEVER else str(from_ms + int(age))


def recorded(store: StoreBase, id: str, rules: Mapping[str, Argument]) -> dict[bytes, bytes]:
    """The fields that a write with these ``rules`` to the session ``id`` has written besides."""
    fields, now = {}, int(server_clock.now() * 1000)
    if RENEWS in rules:
        fields[RENEWED] = b"%d" % now
    if ENDS_AT in rules:
        fields[ENDS] = str(rules[ENDS_AT]).encode()
    if BEGINS in rules:
        store._begun, age = None, str(rules[BEGINS])
        fields[ENDS] = (NEVER if age == NEVER else str(now + int(age))).encode()
    if AGES in rules and CREATED in (held := _held(store, id)):
        fields[ENDS] = _end_of(held, str(rules[AGES])).encode()
    return fields


def end(keyspace: Keyspace, id: str) -> StoreSteps[None]:
    """End a session that is older than it may be."""
    user_pk = yield from layouts.delete(keyspace, id, reasons.ABSOLUTE_AGE)
    if user_pk is not None:
        yield from notices.ended(keyspace, id, user_pk, reasons.ABSOLUTE_AGE)


def is_renewed(store: StoreBase, id: str, age: float, changes: Changes) -> bool:
    """Whether a save can be left out: it changes nothing, and another was sent lately."""
    interval = conf.current().touch_interval
    if not interval or changes.written or changes.removed or changes.replaces:
        return False
    renewed = store._known_of(id).fields.get(RENEWED)
    return (
        changes.rules.keys() == {RENEWS}
        and is_moment(renewed)
        and server_clock.is_within(min(interval, age / 2), int(renewed) / 1000)
    )


# What a store knows about its session's end


def known_end(store: StoreBase) -> StoreSteps[float | None]:
    """As `ends_at`, also for a session that is not in Redis yet: if it were created now."""
    if store.session_key is None:
        yield from begin(store, user_of(store._entries))
    return ends_at(store, store._id)


def ends_at(store: StoreBase, id: str | None) -> float | None:
    """
    When the session ends at the latest, in the server's epoch seconds.

    ``None`` if there is no limit, or this store does not know it.
    """
    begun = store._begun
    if begun and begun.user == user_of(store._entries) and (begun.by_login or id is None):
        return None if begun.age == NEVER else server_clock.now() + int(begun.age) / 1000
    setting, held = conf.current().absolute_age, _held(store, id)
    end = held.get(ENDS)
    if end is None and setting is not None and not ages.is_per_user() and CREATED in held:
        end = _end_of(held, ages.age_for(None)).encode()  # its next save writes it
    return int(end) / 1000 if is_moment(end) else None


def user_of(entries: Mapping[Any, Any]) -> str:
    """The primary key of the user that these entries name, in text; ``""`` without one."""
    user_pk = entries.get(USER_KEY)
    return "" if user_pk is None else str(user_pk)


# Signing in


def _begin_anew(request: Any, user: Any, **kwargs: Any) -> None:
    session = getattr(request, "session", None)
    if isinstance(session, StoreBase) and conf.current().absolute_age is not None:
        session._begun = Begun(user_of(session), ages.age_for(user), by_login=True)


@cache
def listen() -> None:
    """Hear of each login from now on. Both app and engine call it: a site may use only one."""
    from django.contrib.auth.signals import user_logged_in  # noqa: PLC0415 - it imports models

    user_logged_in.connect(_begin_anew, dispatch_uid="sessions_redis.lifetimes")
