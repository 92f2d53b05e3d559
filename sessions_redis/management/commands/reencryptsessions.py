from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.management.tenants import add_prefix, in_tenant
from sessions_redis.registry.reencrypting import Progress, reencrypt


class Command(BaseCommand):
    help = (
        "Stores each entry of each session as SESSION_SERIALIZER stores it now: encrypted with the "
        "first of SESSION_REDIS['ENCRYPTION_KEYS'], or plain with a serializer that only decrypts. "
        "The site can go on meanwhile, and nobody is signed out. Run it before you remove a key, "
        "until it says that nothing is left."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add_prefix(parser)
        parser.add_argument(
            "--dry-run", action="store_true", help="Only say how many entries are left."
        )

    @in_tenant
    def handle(self, *, dry_run: bool, verbosity: int, **options: Any) -> None:
        last = Progress()

        def report(progress: Progress) -> None:
            nonlocal last
            last = progress
            if verbosity and self.stdout.isatty():
                line = f"\r{progress.share:4.0%}  {_sessions(progress)}"
                self.stdout.write(line, ending="")
                self.stdout.flush()

        try:
            result = reencrypt(only_look=dry_run, report=report)
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
        except SessionStoreUnavailable as error:
            so_far = f"Entries written before that: {last.written:,}. Run the command again."
            raise CommandError(f"{error} {so_far}") from error
        if verbosity:
            if self.stdout.isatty():
                self.stdout.write("")
            self.stdout.write(_said(result, dry_run=dry_run))


def _said(result: Progress, *, dry_run: bool) -> str:
    found, left = f"{_sessions(result)} found", result.outdated - result.written
    if not result.outdated:
        return f"{found}. Nothing is left: all entries are stored as they should be."
    if dry_run:
        return f"{found}. Entries left: {left:,}. Nothing was written."
    return (
        f"{found}. Entries written: {result.written:,}. Entries left: {left:,}. Run the command "
        "again, until nothing is left. Damaged entries stay, and so do those that expire by "
        "themselves."
    )


def _sessions(progress: Progress) -> str:
    count = progress.sessions
    return f"{count:,} {'session' if count == 1 else 'sessions'}"
