"""Sites with tenants: functions for ``KEY_PREFIX``, and a variable that holds the tenant."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

# The key prefix of the current tenant.
tenant: ContextVar[str] = ContextVar("tenant")


def key_prefix() -> str:
    return tenant.get()


@contextmanager
def inside(prefix: str) -> Iterator[None]:
    token = tenant.set(prefix)
    try:
        yield
    finally:
        tenant.reset(token)


NOT_A_FUNCTION = "acme"


async def asynchronous() -> str: ...


def of_a_request(request: Any) -> str: ...


def of_process() -> str:
    """For workers: a process that belongs to one tenant."""
    return os.environ["TENANT"]
