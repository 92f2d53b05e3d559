"""The option ``--prefix``: which tenant a command works on, if ``KEY_PREFIX`` is a function."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import wraps
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError, CommandParser

from sessions_redis import conf
from sessions_redis.key_prefixes import Tenants
from sessions_redis.tenants import using

Handle = Callable[..., None]


def add_prefix(parser: CommandParser) -> None:
    parser.add_argument(
        "--prefix",
        help=(
            "The key prefix of the tenant, in a site with several tenants. Without this option, "
            "the command asks the function in SESSION_REDIS['KEY_PREFIX']."
        ),
    )


def in_tenant(handle: Handle) -> Handle:
    """Wrap ``handle`` so that it runs in one tenant from its beginning to its end."""

    @wraps(handle)
    def handle_in_tenant(self: Any, *, prefix: str | None = None, **options: Any) -> None:
        try:
            tenants = conf.current().tenants
            if prefix is None and tenants is not None:
                prefix = _asked(tenants)
            with nullcontext() if prefix is None else using(prefix):
                handle(self, **options)
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error

    return handle_in_tenant


def _asked(tenants: Tenants) -> str:
    try:
        return tenants.current()
    except Exception as error:  # the site's function can raise any error
        raise CommandError(
            f"{tenants} does not know the tenant of this command: {error!r}. "
            "Name the key prefix of a tenant with --prefix."
        ) from error
