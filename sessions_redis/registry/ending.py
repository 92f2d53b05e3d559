"""End sessions at once, and send a signal for each."""

from collections.abc import Generator, Sequence
from typing import Any

from sessions_redis import conf
from sessions_redis.clients import Steps, aperform, arun, perform, run
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.registry.live_sessions import LiveSession, user_pk_of
from sessions_redis.registry.selections import indexed
from sessions_redis.signals import session_ended
from sessions_redis.storage import commands, listings
from sessions_redis.storage.commands import Command, session_id
from sessions_redis.storage.listings import END_MANY_BATCH_SIZE, Ended, is_id

# A generator of commands that end sessions, each with the tenant of these sessions. It is not
# `Steps`: signals are sent after each command.
Endings = Generator[tuple[str | None, Command[Ended]], Ended, None]


def _end(session: str | LiveSession, reason: str) -> Steps[dict[str, Any] | None]:
    """The arguments of the signal to send; ``None`` if there was nothing to end."""
    id = _id_of(session)
    if not is_id(id):
        return None
    keyspace = conf.keyspace_in(_tenant_of(session))
    # Not sent again after a lost reply: it would say that there was nothing to end.
    user_pk: str | None = yield commands.delete(keyspace, id)._replace(repeatable=False)
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


def _end_many(sessions: Sequence[str | LiveSession]) -> Endings:
    wanted: dict[str | None, dict[str, None]] = {}
    for session in sessions:
        if is_id(id := _id_of(session)):
            wanted.setdefault(_tenant_of(session), {})[id] = None
    # The names of all tenants are made first: the current one may change between two steps.
    for keyspace, ids in [(conf.keyspace_in(tenant), [*ids]) for tenant, ids in wanted.items()]:
        for start in range(0, len(ids), END_MANY_BATCH_SIZE):
            batch = ids[start : start + END_MANY_BATCH_SIZE]
            yield keyspace.tenant, listings.end_many(keyspace, batch)


def end_many(session_ids: Sequence[str | LiveSession], *, reason: str = "ended") -> list[str]:
    """
    End the sessions of these ids, in steps of hundreds, and return the ids of those that ended.

    With tenants, it looks for ids and for each `LiveSession` as `end` does. Sends `session_ended`
    for each. If Redis fails, the error's ``ended`` says which sessions ended.
    """
    return _carry_out(_end_many(session_ids), reason)


async def aend_many(
    session_ids: Sequence[str | LiveSession], *, reason: str = "ended"
) -> list[str]:
    return await _acarry_out(_end_many(session_ids), reason)


def _end_each_of(user: Any, spared_id: str) -> Endings:
    # Each step ends as many sessions as it looks at, so the last one looks at the whole index at
    # one moment. A session that was in it when the first step began stays in it until it is ended:
    # if it is cycled meanwhile, under its new id.
    keyspace, user_pk, more = indexed(), user_pk_of(user), True
    while more:
        ended = yield keyspace.tenant, listings.end_all(keyspace, user_pk, spared_id)
        spared_id, more = ended.spared, ended.more


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
    return _carry_out(_end_each_of(user, spared_id), reason)


async def aend_each_of(
    user: Any,
    except_session_key: str | None = None,
    *,
    except_id: str | None = None,
    reason: str = "ended",
) -> list[str]:
    spared_id = _spared(except_session_key, except_id)
    del except_session_key
    return await _acarry_out(_end_each_of(user, spared_id), reason)


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


def _carry_out(endings: Endings, reason: str) -> list[str]:
    ended: list[str] = []
    try:
        tenant, command = next(endings)
        while True:
            step = run(command)
            for id, user_pk in step.sessions:
                session_ended.send_robust(**_signal(id, user_pk, reason, tenant))
                ended.append(id)
            tenant, command = endings.send(step)
    except StopIteration:
        return ended
    except SessionStoreUnavailable as error:
        error.ended = ended
        raise


async def _acarry_out(endings: Endings, reason: str) -> list[str]:
    ended: list[str] = []
    try:
        tenant, command = next(endings)
        while True:
            step = await arun(command)
            for id, user_pk in step.sessions:
                await session_ended.asend_robust(**_signal(id, user_pk, reason, tenant))
                ended.append(id)
            tenant, command = endings.send(step)
    except StopIteration:
        return ended
    except SessionStoreUnavailable as error:
        error.ended = ended
        raise


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
