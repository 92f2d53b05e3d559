from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.management.tenants import add_prefix, in_tenant
from sessions_redis.registry.rebuilding import Progress, rebuild

# Characters of the progress bar.
WIDTH = 30


class Command(BaseCommand):
    help = (
        "Lists every session again, after Redis has lost an index, or after SESSION_REDIS['INDEX'] "
        "was off or SESSION_REDIS['INDEX_SHARDS'] was another number. The site can go on meanwhile."
        " Without this command, each session is listed again when it is next saved, or next used "
        "with sessions_redis.middleware."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add_prefix(parser)
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="Only say how many sessions are not listed, or not under their user.",
        )

    @in_tenant
    def handle(self, *, dry_run: bool, verbosity: int, **options: Any) -> None:
        last = Progress(0, 0, 0)

        def report(progress: Progress) -> None:
            nonlocal last
            last = progress
            if verbosity and self.stdout.isatty():
                self.stdout.write(f"\r{_bar(progress)}", ending="")
                self.stdout.flush()

        try:
            result = rebuild(only_look=dry_run, report=report)
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
        except SessionStoreUnavailable as error:
            raise CommandError(f"{error} {_so_far(last, dry_run=dry_run)}") from error
        if verbosity:
            if self.stdout.isatty():
                self.stdout.write("")
            self.stdout.write(_said(result, dry_run=dry_run))


def _bar(progress: Progress) -> str:
    done = round(progress.share * WIDTH)
    bar = "#" * done + "." * (WIDTH - done)
    return f"[{bar}] {progress.share:4.0%}  {_sessions(progress.sessions)}"


def _said(result: Progress, *, dry_run: bool) -> str:
    if not result.removed:
        return _found(result, dry_run=dry_run)
    index = "index" if result.removed == 1 else "indexes"
    return (
        f"{_found(result, dry_run=dry_run)} Removed {result.removed:,} {index} of a former "
        "INDEX_SHARDS."
    )


def _found(result: Progress, *, dry_run: bool) -> str:
    if not result.unlisted:
        return f"{_sessions(result.sessions)} found, none unlisted."
    was_or_were = "was" if result.unlisted == 1 else "were"
    if dry_run:
        is_or_are = "is" if result.unlisted == 1 else "are"
        return (
            f"{_sessions(result.sessions)} found. {result.unlisted:,} of them {is_or_are} not "
            "listed, or not under the right user. Run the command without --dry-run to list them."
        )
    return f"{_sessions(result.sessions)} found; {result.unlisted:,} {was_or_were} listed again."


def _so_far(progress: Progress, *, dry_run: bool) -> str:
    if dry_run:
        return "Nothing was written."
    return (
        f"Sessions listed again before that: {progress.unlisted:,}. Run the command again for the "
        "others."
    )


def _sessions(count: int) -> str:
    return f"{count:,} {'session' if count == 1 else 'sessions'}"
