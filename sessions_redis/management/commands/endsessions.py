from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from sessions_redis import registry
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.logs import printable
from sessions_redis.management.ending_all import end_all, sessions
from sessions_redis.management.tenants import add_prefix, in_tenant


class Command(BaseCommand):
    help = (
        "Ends all sessions of some users, or of the whole site, which signs them out at once. "
        "Prints how many ended."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add_prefix(parser)
        parser.add_argument("usernames", nargs="*", metavar="username")
        parser.add_argument(
            "--all-but-newest",
            action="store_true",
            help="Keep the newest session of each user.",
        )
        parser.add_argument(
            "--all",
            action="store_true",
            dest="of_all",
            help=(
                "End all sessions of the site, also those of visitors who are not signed in. "
                "The command asks before it does."
            ),
        )
        parser.add_argument(
            "--no-input",
            "--noinput",
            action="store_false",
            dest="interactive",
            help="With --all: end them without asking.",
        )

    @in_tenant
    def handle(
        self,
        *,
        usernames: list[str],
        of_all: bool,
        all_but_newest: bool,
        interactive: bool,
        verbosity: int,
        **options: Any,
    ) -> None:
        if not of_all:
            self._end_those_of(usernames, all_but_newest=all_but_newest)
        elif usernames or all_but_newest:
            raise CommandError(
                "No sessions were ended: --all ends all sessions of the site, so it cannot be "
                "combined with a username or --all-but-newest."
            )
        else:
            end_all(self, asks=interactive, shows=verbosity > 0)

    def _end_those_of(self, usernames: list[str], *, all_but_newest: bool) -> None:
        if not usernames:
            raise CommandError(
                "Give the username of each user whose sessions to end, or --all to end all "
                "sessions of the site."
            )
        done: list[str] = []
        left = _users(usernames)
        try:
            while left:
                username = next(iter(left))
                ended = _end_all_of(left[username], spare_newest=all_but_newest)
                self.stdout.write(f"{printable(username)}: {sessions(ended)} ended")
                done.append(username)
                del left[username]
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
        except Interrupted as error:
            raise CommandError(_message(error, done, list(left))) from error


class Interrupted(Exception):  # noqa: N818 - named for what happened to the command
    """
    Redis failed while the command ended the sessions of one user.

    ``ended``: how many of the user's sessions had ended. ``may_have_ended``: whether more may have
    ended, because the reply from Redis was lost.
    """

    def __init__(self, failure: SessionStoreUnavailable, *, was_asked: bool) -> None:
        super().__init__(str(failure))
        self.ended = len(failure.ended)
        self.may_have_ended = was_asked and failure.may_have_been_done


def _message(error: Interrupted, done: list[str], left: list[str]) -> str:
    username, *others = left
    sentences = [str(error)]
    if error.ended:
        sentences.append(f"{printable(username)}: {sessions(error.ended)} ended before that.")
    if error.may_have_ended:
        sentences.append(
            f"{printable(username)}: sessions may have ended: the reply from Redis was lost."
        )
    elif not error.ended:
        others = left
    if others:
        sentences.append(f"Not signed out: {_list(others)}.")
    if done:
        sentences.append(f"Signed out before that: {_list(done)}.")
    return " ".join(sentences)


def _users(usernames: list[str]) -> dict[str, Any]:
    """The users by name. Raises `CommandError`, before anything ends, if one does not exist."""
    users = {username: _user(username) for username in usernames}
    unknown = [username for username, user in users.items() if user is None]
    if unknown:
        model = get_user_model()
        field = model._meta.get_field(model.USERNAME_FIELD).verbose_name  # type: ignore[union-attr]
        raise CommandError(
            f"No sessions were ended, because there is no user {_list(unknown)}. "
            f"Give the {field} that each user signs in with."
        )
    return users


def _user(username: str) -> Any:
    model = get_user_model()
    try:
        return model._default_manager.get(**{model.USERNAME_FIELD: username})
    except (model.DoesNotExist, ValueError, ValidationError):
        # The field raises ValueError or ValidationError for text that it could never hold.
        return None


def _list(names: list[str]) -> str:
    return ", ".join(map(repr, names))


def _end_all_of(user: Any, *, spare_newest: bool) -> int:
    was_asked = False
    try:
        newest = registry.of_user(user, 0, 1) if spare_newest else []
        was_asked = True
        return registry.end_all_of(user, except_id=newest[0].id if newest else None)
    except SessionStoreUnavailable as failure:
        raise Interrupted(failure, was_asked=was_asked) from failure
