"""Decodes sessions of other engines, and tells a damaged session from an empty one."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.contrib.sessions.backends.base import SessionBase
from django.core import signing

from sessions_redis.former.store import FormerSession


def decoded(store: SessionBase, text: str) -> Mapping[str, Any] | None:
    """The session's entries. ``None`` if they cannot be decoded."""
    entries = store.decode(text)
    if not isinstance(entries, Mapping):
        return None
    return entries if entries or _is_empty(store, text) else None


def _is_empty(store: SessionBase, text: str) -> bool:
    """Whether it has no entries. Django's ``decode()`` also returns none if it is damaged."""
    if type(store).decode is not SessionBase.decode:
        return True
    try:
        signing.loads(text, salt=store.key_salt, serializer=store.serializer)
    except Exception:  # noqa: BLE001 - a serializer can raise any error, as in Django's decode()
        return False
    return True


def session_by_itself(store: Any, entries: Mapping[str, Any]) -> FormerSession:
    """
    The session with the lifetime that it says itself, because its store cannot say what is left.

    Its ``ttl`` may be 0 or less.
    """
    store._session_cache = dict(entries)
    try:
        ttl = float(store.get_expiry_age())
    except (TypeError, ValueError, OverflowError):  # its entry about the lifetime is damaged
        return FormerSession(entries, float(store.get_session_cookie_age()), is_exact=False)
    # Text is the time at which it ends. Anything else counts from when it was saved.
    is_exact = isinstance(entries.get("_session_expiry"), str | datetime)
    return FormerSession(entries, ttl, is_exact=is_exact)
