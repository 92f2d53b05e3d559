"""Functions of a site that ``ABSOLUTE_AGE`` names, and what they were called with."""

from datetime import timedelta
from typing import Any

STAFF, OTHERS = 500, 2000

calls: list[Any] = []

# What `chosen` returns.
answer: list[Any] = [None]


def per_user(user: Any) -> int:
    """Staff sessions live for a shorter time."""
    calls.append(None if user is None else user.username)
    return STAFF if user is not None and user.is_staff else OTHERS


def unlimited(user: Any) -> None:
    calls.append(user)


def as_timedelta(user: Any) -> timedelta:
    return timedelta(seconds=STAFF)


def chosen(user: Any) -> Any:
    return answer[0]
