from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from sessions_redis import registry
from sessions_redis.exceptions import SessionStoreUnavailable


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
        users = _users(usernames)
        try:
            for username, user in users.items():
                ended = _end_all_of(user, spare_newest=all_but_newest)
                self.stdout.write(f"{username}: {ended} {'session' if ended == 1 else 'sessions'}")
        except (ImproperlyConfigured, SessionStoreUnavailable) as error:
            raise CommandError(str(error)) from error


def _users(usernames: list[str]) -> dict[str, Any]:
    """The users by their names. If one is not known, none is returned and nobody signed out."""
    users = {username: _user(username) for username in usernames}
    unknown = [username for username, user in users.items() if user is None]
    if unknown:
        raise CommandError(f"Nobody was signed out, for there is no user {_list(unknown)}.")
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
    newest = registry.of_user(user, 0, 1) if spare_newest else []
    return registry.end_all_of(user, except_id=newest[0].id if newest else None)
