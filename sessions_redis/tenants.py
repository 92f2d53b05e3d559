"""Chooses a tenant, in a site whose ``KEY_PREFIX`` is a function: see docs/tenants.md."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.core.exceptions import ImproperlyConfigured

from sessions_redis import conf, key_prefixes


@contextmanager
def using(prefix: str) -> Iterator[None]:
    """
    Let ``prefix`` be the current tenant's key prefix, whatever the site's function would return.

    It applies to this thread or task, to the tasks that it starts, and to session stores that are
    first used meanwhile. A store that was used before keeps its tenant. Raises
    ``ImproperlyConfigured`` if ``KEY_PREFIX`` is not a function, or ``prefix`` cannot be one.
    """
    if conf.current().tenants is None:
        raise ImproperlyConfigured(
            'No tenant can be chosen: SESSION_REDIS["KEY_PREFIX"] is one prefix for the whole '
            "site, not a function."
        )
    key_prefixes.require_prefix(prefix, "The chosen prefix is")
    token = key_prefixes.chosen.set(prefix)
    try:
        yield
    finally:
        key_prefixes.chosen.reset(token)
