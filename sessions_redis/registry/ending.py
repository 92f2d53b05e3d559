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

# A generator of commands that end sessions. It is not `Steps`: signals are sent after each command.
Endings = Generator[Command[Ended], Ended, None]


def _end(session_id: str) -> Steps[str | None]:
    if not is_id(session_id):
        return None
    # Not sent again after a lost reply: it would say that there was nothing to end.
    delete = commands.delete(conf.current().keyspace, session_id)._replace(repeatable=False)
    user_pk: str | None = yield delete
    return user_pk


def end(session_id: str, *, reason: str = "ended") -> bool:
    """End the session of this id at once, and send `session_ended`. ``False`` if there is none."""
    user_pk = perform(_end(session_id))
    if user_pk is None:
        return False
    session_ended.send_robust(**_signal(session_id, user_pk, reason))
    return True


async def aend(session_id: str, *, reason: str = "ended") -> bool:
    user_pk = await aperform(_end(session_id))
    if user_pk is None:
        return False
    await session_ended.asend_robust(**_signal(session_id, user_pk, reason))
    return True


def _end_many(session_ids: Sequence[str]) -> Endings:
    wanted = list(dict.fromkeys(id for id in session_ids if is_id(id)))
    for start in range(0, len(wanted), END_MANY_BATCH_SIZE):
        batch = wanted[start : start + END_MANY_BATCH_SIZE]
        yield listings.end_many(conf.current().keyspace, batch)


def end_many(session_ids: Sequence[str], *, reason: str = "ended") -> list[str]:
    """
    End the sessions of these ids, in steps of hundreds, and return the ids of those that ended.

    Sends `session_ended` for each. If Redis fails, the error's ``ended`` says which sessions ended.
    """
    return _carry_out(_end_many(session_ids), reason)


async def aend_many(session_ids: Sequence[str], *, reason: str = "ended") -> list[str]:
    return await _acarry_out(_end_many(session_ids), reason)


def _end_each_of(user: Any, spared_id: str) -> Endings:
    # Each step ends as many sessions as it looks at, so the last one looks at the whole index at
    # one moment. A session that was in it when the first step began stays in it until it is ended:
    # if it is cycled meanwhile, under its new id.
    user_pk, more = user_pk_of(user), True
    while more:
        ended = yield listings.end_all(indexed(), user_pk, spared_id)
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
        step = run(next(endings))
        while True:
            for id, user_pk in step.sessions:
                session_ended.send_robust(**_signal(id, user_pk, reason))
                ended.append(id)
            step = run(endings.send(step))
    except StopIteration:
        return ended
    except SessionStoreUnavailable as error:
        error.ended = ended
        raise


async def _acarry_out(endings: Endings, reason: str) -> list[str]:
    ended: list[str] = []
    try:
        step = await arun(next(endings))
        while True:
            for id, user_pk in step.sessions:
                await session_ended.asend_robust(**_signal(id, user_pk, reason))
                ended.append(id)
            step = await arun(endings.send(step))
    except StopIteration:
        return ended
    except SessionStoreUnavailable as error:
        error.ended = ended
        raise


def _spared(session_key: str | None, id: str | None) -> str:
    """The id of the session to spare, ``""`` for none."""
    return session_id(session_key) if session_key else id or ""


def _signal(id: str, user_pk: str, reason: str) -> dict[str, Any]:
    return {
        "sender": LiveSession,
        "session_id": id,
        "user_pk": user_pk or None,
        "reason": reason,
    }
