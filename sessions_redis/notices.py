"""The signals that a session store sends. Without receivers, they cost nothing."""

from typing import Any

from sessions_redis.calls import CallTo, StoreSteps
from sessions_redis.registry import LiveSession
from sessions_redis.signals import session_created, session_ended
from sessions_redis.storage.commands import milliseconds
from sessions_redis.storage.keyspaces import Keyspace


def created(keyspace: Keyspace, id: str, user_pk: str | None, age: float) -> StoreSteps[None]:
    """A session was created. Without time left (``age``), there is none."""
    if session_created.receivers and milliseconds(age) > 0:
        yield CallTo(session_created, "send_robust", **_arguments(keyspace, id, user_pk))


def ended(keyspace: Keyspace, id: str, user_pk: str, reason: str) -> StoreSteps[None]:
    if session_ended.receivers:
        arguments = _arguments(keyspace, id, user_pk)
        yield CallTo(session_ended, "send_robust", reason=reason, **arguments)


def _arguments(keyspace: Keyspace, id: str, user_pk: str | None) -> dict[str, Any]:
    return {
        "sender": LiveSession,
        "session_id": id,
        "user_pk": user_pk or None,
        "tenant": keyspace.tenant,
    }
