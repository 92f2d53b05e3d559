"""Decodes sessions of other engines, and tells a damaged session from an empty one."""

from collections.abc import Mapping
from typing import Any

from django.contrib.sessions.backends.base import SessionBase
from django.core import signing


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


def age_of(store: Any, entries: Mapping[str, Any]) -> float:
    """The seconds that the session has by what it says itself, if its store cannot say it."""
    store._session_cache = dict(entries)
    try:
        return float(store.get_expiry_age())
    except (TypeError, ValueError, OverflowError):  # its entry about the lifetime is damaged
        return float(store.get_session_cookie_age())
