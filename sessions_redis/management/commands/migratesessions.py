from argparse import ArgumentTypeError
from importlib import import_module
from time import monotonic
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from sessions_redis import conf, former
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.former import FormerStore
from sessions_redis.json_serializer import made
from sessions_redis.management.moving import as_check, as_counts
from sessions_redis.management.progress import Progress
from sessions_redis.management.tenants import add_prefix, in_tenant
from sessions_redis.moving_all import Move
from sessions_redis.moving_all.checking import WRONG, compare
from sessions_redis.moving_all.pace import Pace

BATCH = 500

# The exit status of a program that Ctrl-C ended.
INTERRUPTED = 130


def _number(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


class Command(BaseCommand):
    help = (
        "Moves all sessions of a former engine into Redis, with the lifetime that they have left. "
        "Nobody is signed out, and the site can go on meanwhile. First deploy the site with "
        "SESSION_ENGINE = 'sessions_redis.engine' and SESSION_REDIS['FORMER_ENGINE']. The command "
        "can be interrupted, and then run again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add_prefix(parser)
        parser.add_argument(
            "--from",
            dest="engine",
            metavar="ENGINE",
            help=(
                "The former SESSION_ENGINE, such as django.contrib.sessions.backends.db. "
                "Default: SESSION_REDIS['FORMER_ENGINE']."
            ),
        )
        parser.add_argument(
            "--batch",
            type=_number,
            default=BATCH,
            metavar="N",
            help=f"How many sessions to read at a time. Default: {BATCH}.",
        )
        parser.add_argument(
            "--rate",
            type=_number,
            metavar="N",
            help="How many sessions to move in a second, at most. Default: as many as possible.",
        )
        what = parser.add_mutually_exclusive_group()
        what.add_argument(
            "--dry-run",
            action="store_true",
            help="Only say what would become of the sessions. Nothing is written.",
        )
        what.add_argument(
            "--check",
            action="store_true",
            help=(
                "Compare a sample of the sessions that have moved with what the former engine "
                "had, and count the sessions that it still has. Nothing is written."
            ),
        )

    @in_tenant
    def handle(
        self,
        *,
        engine: str | None,
        batch: int,
        rate: int | None,
        dry_run: bool,
        check: bool,
        verbosity: int,
        **options: Any,
    ) -> None:
        path = engine or conf.current().former_engine
        store = _store(path)
        self._warn(path)
        move = Move(
            store,
            conf.current().keyspace,
            made(_ours()().serializer),
            moves_partly=conf.current().former_engine_partial,
            only_look=dry_run or check,
        )
        size = batch if rate is None else min(batch, rate)
        began = monotonic()
        try:
            self._go_through(move, store, size, Pace(rate), shows=verbosity > 0)
            said = as_counts(move.counts, only_look=move.only_look)
            if check:
                self._say_check(path, said)
        except SessionStoreUnavailable as error:
            raise CommandError(f"{error}\n{_so_far(move)}") from error
        except KeyboardInterrupt:
            raise CommandError(f"Interrupted.\n{_so_far(move)}", returncode=INTERRUPTED) from None
        if verbosity and not check:
            self.stdout.write(said)
            self.stdout.write(f"That took {monotonic() - began:.1f} seconds.")

    def _go_through(
        self, move: Move, store: FormerStore, size: int, pace: Pace, *, shows: bool
    ) -> None:
        progress = Progress(self.stdout, store.count(), "sessions", shows=shows)
        try:
            for number in move.batches(size, pace):
                progress.add(number)
        finally:
            progress.end()

    def _say_check(self, path: str, left: str) -> None:
        counts = compare(conf.current().keyspace)
        self.stdout.write(f"Still in {path}:\n{left}\n\n{as_check(counts)}")
        wrong = sum(counts.of(kind).number for kind in WRONG)
        if wrong:
            raise CommandError(f"The check found {wrong:,} wrong. The lines above say which.")

    def _warn(self, path: str) -> None:
        configured = conf.current().former_engine
        if configured == path:
            return
        is_set = f"is {configured!r}" if configured else "is not set"
        self.stderr.write(
            f"Warning: SESSION_REDIS['FORMER_ENGINE'] {is_set}. If the site serves visitors now, "
            "those whose sessions have not moved yet are signed out, and a session that somebody "
            "ends meanwhile may come back. Stop this command, set SESSION_REDIS['FORMER_ENGINE'] "
            f"= {path!r}, restart the site, and run the command again. If the site is stopped, "
            "nothing needs to be done."
        )


def _store(path: str) -> FormerStore:
    """The former engine's store. Raises `CommandError` if its sessions cannot move."""
    if not path:
        raise CommandError(
            "Name the former engine, for example --from django.contrib.sessions.backends.db, or "
            "set SESSION_REDIS['FORMER_ENGINE']."
        )
    if not issubclass(_ours(), SessionStore):
        raise CommandError(
            f"SESSION_ENGINE is still {settings.SESSION_ENGINE!r}. The site would not find its "
            "sessions after they have moved, and would sign all visitors out. First set "
            "SESSION_ENGINE = 'sessions_redis.engine' and SESSION_REDIS['FORMER_ENGINE'], and "
            "restart the site: then it serves the sessions of both. After that, run this command."
        )
    refusal = former.refusal(path)
    if refusal:
        raise CommandError(
            f"{refusal} Name the module that SESSION_ENGINE was set to, for example --from "
            "django.contrib.sessions.backends.db."
        )
    return former.of(path)


def _ours() -> Any:
    return import_module(settings.SESSION_ENGINE).SessionStore


def _so_far(move: Move) -> str:
    counts = as_counts(move.counts, only_look=move.only_look)
    if move.only_look:
        return f"Nothing was written. So far:\n{counts}"
    return (
        f"So far:\n{counts}\nSome of the next batch may have moved as well. No session was lost. "
        "Run the command again: it goes on with those that are left."
    )
