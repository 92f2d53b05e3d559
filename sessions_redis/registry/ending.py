"""End sessions at once, and send a signal for each."""

from collections.abc import Callable, Generator, Sequence
from typing import Any

from sessions_redis import conf
from sessions_redis.clients import Steps, acarry_out, aperform, carry_out, perform
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.registry.live_sessions import LiveSession, user_pk_of
from sessions_redis.registry.selections import indexed
from sessions_redis.signals import session_ended
from sessions_redis.storage import all_sessions, layouts
from sessions_redis.storage.across_slots.ending import EndingSteps
from sessions_redis.storage.commands import session_id
from sessions_redis.storage.listings import Ended, is_id
from sessions_redis.storage.steps import Step

# Generators of steps that end sessions, each with the tenant of these sessions. They are not
# `Steps`: they also yield what has ended, and then signals are sent for it.
Endings = Generator[tuple[str | None, EndingSteps], None, None]

# Is called with the number of sessions that a step ended.
Report = Callable[[int], None]


def _nothing(_: int) -> None:
    """Report to nobody."""


def _end(session: str | LiveSession, reason: str) -> Steps[dict[str, Any] | None]:
    """The arguments of the signal to send; ``None`` if there was nothing to end."""
    id = _id_of(session)
    if not is_id(id):
        return None
    keyspace = conf.keyspace_in(_tenant_of(session))
    user_pk = yield from layouts.end(keyspace, id, reason)
    return None if user_pk is None else _signal(id, user_pk, reason, keyspace.tenant)


def end(session_id: str | LiveSession, *, reason: str = "ended") -> bool:
    """
    End the session of this id at once, and send `session_ended`. ``False`` if there is none.

    With tenants, an id is looked for in the current tenant. A `LiveSession` ends in the tenant in
    which it was found.
    """
    signal = perform(_end(session_id, reason))
    if signal is None:
        return False
    session_ended.send_robust(**signal)
    return True


async def aend(session_id: str | LiveSession, *, reason: str = "ended") -> bool:
    signal = await aperform(_end(session_id, reason))
    if signal is None:
        return False
    await session_ended.asend_robust(**signal)
    return True


def _end_many(sessions: Sequence[str | LiveSession], reason: str) -> Endings:
    wanted: dict[str | None, dict[str, None]] = {}
    for session in sessions:
        if is_id(id := _id_of(session)):
            wanted.setdefault(_tenant_of(session), {})[id] = None
    # The names of all tenants are made first: the current one may change between two steps.
    for keyspace, ids in [(conf.keyspace_in(tenant), [*ids]) for tenant, ids in wanted.items()]:
        yield keyspace.tenant, layouts.end_many(keyspace, ids, reason)


def end_many(session_ids: Sequence[str | LiveSession], *, reason: str = "ended") -> list[str]:
    """
    End the sessions of these ids, in steps of hundreds, and return the ids of those that ended.

    With tenants, it looks for ids and for each `LiveSession` as `end` does. Sends `session_ended`
    for each. If Redis fails, the error's ``ended`` says which sessions ended.
    """
    return _carry_out(_end_many(session_ids, reason), reason)


async def aend_many(
    session_ids: Sequence[str | LiveSession], *, reason: str = "ended"
) -> list[str]:
    return await _acarry_out(_end_many(session_ids, reason), reason)


def _end_each_of(user: Any, spared_id: str, reason: str) -> Endings:
    keyspace = indexed()
    yield keyspace.tenant, layouts.end_all(keyspace, user_pk_of(user), spared_id, reason)


def end_each_of(
    user: Any,
    except_session_key: str | None = None,
    *,
    except_id: str | None = None,
    reason: str = "ended",
) -> list[str]:
    """As `end_all_of`, but return the ids of the sessions that ended."""
    spared_id = _spared(except_session_key, except_id)
    del except_session_key  # error reports print the variables of this frame
    return _carry_out(_end_each_of(user, spared_id, reason), reason)


async def aend_each_of(
    user: Any,
    except_session_key: str | None = None,
    *,
    except_id: str | None = None,
    reason: str = "ended",
) -> list[str]:
    spared_id = _spared(except_session_key, except_id)
    del except_session_key
    return await _acarry_out(_end_each_of(user, spared_id, reason), reason)


def end_all_of(
    user: Any,
    except_session_key: str | None = None,
    *,
    except_id: str | None = None,
    reason: str = "ended",
) -> int:
    """
    End all sessions that ``user`` has when this begins, and return how many there were.

    Each step ends at most 896 sessions. Sessions that are cycled meanwhile end as well; a session
    that signs in meanwhile may live. To spare one session, such as that of the current request,
    give its key as ``except_session_key``, or its ID as ``except_id``. It is spared even if it is
    cycled before or during the call. Sends `session_ended` for each session that ended. If Redis
    fails, the error's ``ended`` says which ones did; call again for the others.
    """
    spared_id = _spared(except_session_key, except_id)
    del except_session_key
    return len(end_each_of(user, except_id=spared_id, reason=reason))


async def aend_all_of(
    user: Any,
    except_session_key: str | None = None,
    *,
    except_id: str | None = None,
    reason: str = "ended",
) -> int:
    spared_id = _spared(except_session_key, except_id)
    del except_session_key
    return len(await aend_each_of(user, except_id=spared_id, reason=reason))


def _end_each(spared_id: str, reason: str) -> Endings:
    keyspace = indexed()
    yield keyspace.tenant, all_sessions.end_all(keyspace, spared_id, reason)


def end_each(
    *,
    except_session_key: str | None = None,
    except_id: str | None = None,
    reason: str = "ended",
    report: Report = _nothing,
) -> list[str]:
    """As `end_all`, but return the ids of the sessions that ended."""
    spared_id = _spared(except_session_key, except_id)
    del except_session_key
    return _carry_out(_end_each(spared_id, reason), reason, report)


async def aend_each(
    *,
    except_session_key: str | None = None,
    except_id: str | None = None,
    reason: str = "ended",
    report: Report = _nothing,
) -> list[str]:
    spared_id = _spared(except_session_key, except_id)
    del except_session_key
    return await _acarry_out(_end_each(spared_id, reason), reason, report)


def end_all(
    *,
    except_session_key: str | None = None,
    except_id: str | None = None,
    reason: str = "ended",
    report: Report = _nothing,
) -> int:
    """
    End all sessions that the site has when this begins, and return how many there were.

    That includes anonymous sessions. With tenants, it ends those of the current tenant. Each step
    ends at most 498 sessions. Sessions that are cycled meanwhile end as well; a session that begins
    meanwhile lives, except in the second in which this begins. To spare one session, see
    `end_all_of`. Calls ``report`` after each step with the number of sessions that it ended. Sends
    `session_ended` for each session that ended. If Redis fails, the error's ``ended`` says which
    ones did; call again for the others.

    It ends the sessions that the index lists. A session that has not moved in yet from
    ``FORMER_ENGINE`` can still do so.
    """
    spared_id = _spared(except_session_key, except_id)
    del except_session_key
    return len(end_each(except_id=spared_id, reason=reason, report=report))


async def aend_all(
    *,
    except_session_key: str | None = None,
    except_id: str | None = None,
    reason: str = "ended",
    report: Report = _nothing,
) -> int:
    spared_id = _spared(except_session_key, except_id)
    del except_session_key
    return len(await aend_each(except_id=spared_id, reason=reason, report=report))


def _carry_out(endings: Endings, reason: str, report: Report = _nothing) -> list[str]:
    ended: list[str] = []
    try:
        for tenant, steps in endings:
            answer = None
            while (step := _next(steps, answer)) is not None:
                if not isinstance(step, Ended):
                    answer = carry_out(step)
                    continue
                answer = None
                for id, user_pk in step.sessions:
                    session_ended.send_robust(**_signal(id, user_pk, reason, tenant))
                    ended.append(id)
                report(len(step.sessions))
    except SessionStoreUnavailable as error:
        error.ended = ended
        raise
    return ended


async def _acarry_out(endings: Endings, reason: str, report: Report = _nothing) -> list[str]:
    ended: list[str] = []
    try:
        for tenant, steps in endings:
            answer = None
            while (step := _next(steps, answer)) is not None:
                if not isinstance(step, Ended):
                    answer = await acarry_out(step)
                    continue
                answer = None
                for id, user_pk in step.sessions:
                    await session_ended.asend_robust(**_signal(id, user_pk, reason, tenant))
                    ended.append(id)
                report(len(step.sessions))
    except SessionStoreUnavailable as error:
        error.ended = ended
        raise
    return ended


def _next(steps: EndingSteps, answer: Any) -> Step | Ended | None:
    """The next step, or what has ended. ``None`` at the end."""
    try:
        return steps.send(answer)
    except StopIteration:
        return None


def _spared(session_key: str | None, id: str | None) -> str:
    """The id of the session to spare, ``""`` for none."""
    return session_id(session_key) if session_key else id or ""


def _id_of(session: str | LiveSession) -> str:
    return session.id if isinstance(session, LiveSession) else session


def _tenant_of(session: str | LiveSession) -> str | None:
    return session.tenant if isinstance(session, LiveSession) else None


def _signal(id: str, user_pk: str, reason: str, tenant: str | None) -> dict[str, Any]:
    return {
        "sender": LiveSession,
        "session_id": id,
        "user_pk": user_pk or None,
        "reason": reason,
        "tenant": tenant,
    }
