"""
How many sessions a user may have: ``MAX_SESSIONS_PER_USER`` and ``MAX_SESSIONS_POLICY``.

The server enforces this in the step that gives a session its user. Here is what leads to that step,
and what follows it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured

from sessions_redis import callables, conf, notices, reasons
from sessions_redis.calls import Call, Store, StoreSteps
from sessions_redis.clients import carry_out
from sessions_redis.exceptions import SessionLimitReached
from sessions_redis.problems import MOST_SESSIONS, is_cap
from sessions_redis.storage import adoption
from sessions_redis.storage.entries import USER_KEY
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.rules import REFUSE, Refused, capping
from sessions_redis.storage.steps import Argument

if TYPE_CHECKING:
    from sessions_redis.base import StoreBase

T = TypeVar("T")

# What django.contrib.auth keeps in the session of a user.
AUTH_ENTRIES = (USER_KEY, "_auth_user_backend", "_auth_user_hash")


class CapOf(Call):
    """
    How many sessions a user may have: what the site's function returns. ``None``: any number.

    The function may use the database, so asynchronous code calls it in a thread. ``user``: the
    user object, if it is known. Otherwise the user is loaded; without such a user, no cap applies.
    """

    __slots__ = ("path", "user", "user_pk")

    def __init__(self, path: str, user_pk: str, user: Any = None) -> None:
        super().__init__("cap")
        self.path = path
        self.user_pk = user_pk
        self.user = user if user is not None and str(user.pk) == user_pk else None

    def of(self, store: Store) -> int | None:  # noqa: ARG002
        user = _loaded(self.user_pk) if self.user is None else self.user
        cap = None if user is None else callables.named(self.path)(user)
        if cap is None or is_cap(cap):
            return cap
        raise ImproperlyConfigured(
            f'The function of SESSION_REDIS["MAX_SESSIONS_PER_USER"], {self.path}, returned '
            f"{cap!r}, not a number from 1 to {MOST_SESSIONS:,} or None."
        )

    async def aof(self, store: Store) -> int | None:
        return await sync_to_async(self.of)(store)


def _loaded(user_pk: str) -> Any:
    from django.contrib.auth import get_user_model  # noqa: PLC0415 - needs the app registry
    from django.core.exceptions import ValidationError  # noqa: PLC0415

    users = get_user_model()
    try:
        return users._default_manager.filter(pk=users._meta.pk.to_python(user_pk)).first()
    except ValidationError:  # this is not a primary key
        return None


def cap_of(user_pk: str) -> int | None:
    """How many sessions this user may have. ``None``: any number. May query the database."""
    cap: Any = conf.current().max_sessions_per_user
    return at_once(_asked(cap, user_pk)) if isinstance(cap, str) else cap


def _asked(path: str, user_pk: str) -> StoreSteps[int | None]:
    cap: int | None = yield CapOf(path, user_pk)
    return cap


def rules(
    keyspace: Keyspace, user_pk: str | None, user: Any = None
) -> StoreSteps[dict[str, Argument]]:
    """The rules for a write that may give a session this user. ``user``: the object, if known."""
    settings = conf.current()
    cap: Any = settings.max_sessions_per_user
    if not user_pk or cap is None:
        return {}
    if isinstance(cap, str):
        cap = yield CapOf(cap, user_pk, user)
    return {} if cap is None else capping(keyspace, cap, settings.max_sessions_policy)


def ended(keyspace: Keyspace, sessions: Sequence[tuple[str, str]]) -> StoreSteps[None]:
    """
    A write ended these sessions, ids and users, because their user had too many.

    If the former engine has copies, these must not move in. Then signals are sent.
    """
    if keyspace.moves_in and sessions:
        yield [adoption.tombstone(keyspace, id, by_id=True) for id, _ in sessions]
    for id, user_pk in sessions:
        yield from notices.ended(keyspace, id, user_pk, reasons.CAP)


def at_once(steps: StoreSteps[T]) -> T:
    """Carry out these steps in synchronous code that has no store."""
    answer, no_store = None, cast("Any", None)
    try:
        while True:
            step = steps.send(answer)
            answer = step.of(no_store) if isinstance(step, Call) else carry_out(step)
    except StopIteration as stop:
        result: T = stop.value
        return result


def refused_by(store: "StoreBase", refused: Refused) -> SessionLimitReached:
    """
    The exception of a sign-in that was refused.

    The store gets back the user that the session has in Redis, mostly none. So a later save, such
    as that of the middleware, does not try again.
    """
    entries, before = store._session, store._entries_in(store._known.fields)
    for name in AUTH_ENTRIES:
        if name in before:
            entries[name] = before[name]
        else:
            entries.pop(name, None)
    return SessionLimitReached(int(refused.details[0]))


def is_refusing() -> bool:
    """Whether a sign-in may be refused."""
    settings = conf.current()
    return settings.max_sessions_per_user is not None and settings.max_sessions_policy == REFUSE
