from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.sessions.management.commands import clearsessions
from django.core.management.base import CommandError, CommandParser

from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.management.tenants import add_prefix, in_tenant


class Command(clearsessions.Command):
    """
    Django's command, with the option ``--prefix``.

    Django runs it in place of its own if ``sessions_redis`` is before ``django.contrib.sessions``
    in ``INSTALLED_APPS``. With another engine, it does what Django's does.
    """

    def add_arguments(self, parser: CommandParser) -> None:
        add_prefix(parser)

    def handle(self, *, prefix: str | None = None, **options: Any) -> None:
        if issubclass(import_module(settings.SESSION_ENGINE).SessionStore, SessionStore):
            self._handle_in_tenant(prefix=prefix, **options)
        elif prefix is None:
            super().handle(**options)
        else:
            raise CommandError(
                f"SESSION_ENGINE is {settings.SESSION_ENGINE!r}, which has no tenants. "
                "Leave --prefix out."
            )

    @in_tenant
    def _handle_in_tenant(self, **options: Any) -> None:
        try:
            super().handle(**options)
        except SessionStoreUnavailable as error:
            raise CommandError(str(error)) from error
