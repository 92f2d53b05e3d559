"""Ends all sessions of the site, for the command ``endsessions --all``."""

from django.core.management.base import BaseCommand, CommandError

from sessions_redis import conf, registry
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.management.progress import Progress

QUESTION = """
This ends {sessions} in {location} with the key prefix {prefix!r}: all visitors are
signed out, and what their sessions hold is deleted, such as carts. That includes
visitors who are not signed in.

    Type 'yes' to continue, or 'no' to cancel: """


def end_all(command: BaseCommand, *, asks: bool, shows: bool) -> None:
    """
    Ask whether to end all sessions, and end them.

    ``asks``: without it, they end at once. ``shows``: show a progress bar. Raises ``CommandError``
    if they cannot be ended.
    """
    ended, is_ending = 0, False
    try:
        total = registry.count()
        if not total:
            command.stdout.write("There are no sessions to end.")
        elif asks and not _is_confirmed(total):
            command.stdout.write("Canceled. No session was ended.")
        else:
            is_ending = True
            ended = _end_all(command, total, shows=shows)
            command.stdout.write(f"{sessions(ended)} ended")
    except SessionStoreUnavailable as error:
        raise CommandError(_message(error, is_ending=is_ending)) from error
    former = conf.current().former_engine
    if ended and former:
        command.stdout.write(
            f"Sessions that have not moved in from {former} yet are still there, and can still "
            "move in. docs/ending.md says how to delete them."
        )


def _is_confirmed(total: int) -> bool:
    current = conf.current()
    question = QUESTION.format(
        sessions=f"about {sessions(total)}",
        location=current.shown_location,
        prefix=current.keyspace.prefix,
    )
    try:
        return input(question) == "yes"
    except EOFError as error:
        raise CommandError(
            "No session was ended, because nobody could be asked. To end them without a question, "
            "give --no-input."
        ) from error


def _end_all(command: BaseCommand, total: int, *, shows: bool) -> int:
    progress = Progress(command.stdout, total, "sessions", shows=shows)
    try:
        return registry.end_all(report=progress.add)
    finally:
        progress.end()


def _message(error: SessionStoreUnavailable, *, is_ending: bool) -> str:
    said = [str(error)]
    if error.ended:
        said.append(f"{sessions(len(error.ended))} ended before that.")
    if is_ending and error.may_have_been_done:
        said.append("More sessions may have ended: the reply from Redis was lost.")
    elif not error.ended:
        said.append("No session was ended.")
    return " ".join([*said, "To end the others, run the command again."])


def sessions(count: int) -> str:
    return f"{count:,} {'session' if count == 1 else 'sessions'}"
