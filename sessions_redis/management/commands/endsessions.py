from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from sessions_redis import registry
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.logs import printable


class Command(BaseCommand):
    help = "Ends the sessions of users, who are signed out at once. Says how many there were."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("usernames", nargs="+", metavar="username")
        parser.add_argument(
            "--all-but-newest",
            action="store_true",
            help="Leave each user the session that was created last.",
        )

    def handle(self, *, usernames: list[str], all_but_newest: bool, **options: Any) -> None:
        done: list[str] = []
        left = _users(usernames)
        try:
            while left:
                username = next(iter(left))
                ended = _end_all_of(left[username], spare_newest=all_but_newest)
                self.stdout.write(f"{printable(username)}: {_sessions(ended)} ended")
                done.append(username)
                del left[username]
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
        except Interrupted as error:
            raise CommandError(_told(error, done, list(left))) from error


class Interrupted(Exception):  # noqa: N818 - named for what happened to the command
    """Redis failed. ``ended``: what is known of the user whose sessions were to be ended."""

    def __init__(self, failure: SessionStoreUnavailable, *, was_asked: bool) -> None:
        super().__init__(str(failure))
        self.ended = len(failure.ended)
        self.may_have_ended = was_asked and failure.may_have_been_done


def _told(error: Interrupted, done: list[str], left: list[str]) -> str:
    username, *others = left
    told = [str(error)]
    if error.ended:
        told.append(f"{printable(username)}: {_sessions(error.ended)} ended before that.")
    if error.may_have_ended:
        told.append(
            f"{printable(username)}: sessions may have been ended, for the reply of Redis was lost."
        )
    elif not error.ended:
        others = left
    if others:
        told.append(f"Not signed out: {_list(others)}.")
    if done:
        told.append(f"Signed out before that: {_list(done)}.")
    return " ".join(told)


def _sessions(count: int) -> str:
    return f"{count} {'session' if count == 1 else 'sessions'}"


def _users(usernames: list[str]) -> dict[str, Any]:
    """The users by their names. If one is not known, none is returned and nobody signed out."""
    users = {username: _user(username) for username in usernames}
    unknown = [username for username, user in users.items() if user is None]
    if unknown:
        model = get_user_model()
        field = model._meta.get_field(model.USERNAME_FIELD).verbose_name  # type: ignore[union-attr]
        raise CommandError(
            f"Nobody was signed out, for there is no user {_list(unknown)}. "
            f"Name each user by the {field} that they sign in with."
        )
    return users


def _user(username: str) -> Any:
    model = get_user_model()
    try:
        return model._default_manager.get(**{model.USERNAME_FIELD: username})
    except (model.DoesNotExist, ValueError, ValidationError):
        # The latter two: what is no value for such a field is nobody's name either.
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
