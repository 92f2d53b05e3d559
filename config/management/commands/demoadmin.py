from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError
from django.utils.crypto import get_random_string

USERNAME = "admin"


class Command(BaseCommand):
    help = (
        "Creates a superuser for trying the admin, if there is none, and prints the password once. "
        "For development only."
    )

    def handle(self, **options: Any) -> None:
        if not settings.DEBUG:
            raise CommandError(
                "demoadmin prints the password of the superuser that it creates, so it works only "
                "in development. In production, run: python manage.py createsuperuser"
            )
        if message := _message_if_not_needed():
            self.stdout.write(message)
            return
        password = get_random_string(20)
        User.objects.create_superuser(USERNAME, password=password)
        self.stdout.write(
            "To try the admin at /admin/ (the password is shown only now):\n"
            f"  user name: {USERNAME}\n"
            f"  password:  {password}"
        )


def _message_if_not_needed() -> str | None:
    superuser = User.objects.filter(is_superuser=True).order_by("pk").first()
    if superuser:
        name = superuser.username
        return (
            f"There is already a superuser: {name}. To set a new password, "
            f"run: .venv/bin/python manage.py changepassword {name}"
        )
    if User.objects.filter(username=USERNAME).exists():
        return (
            f"There is already a user {USERNAME}, but not a superuser. To use the admin, "
            "run: .venv/bin/python manage.py createsuperuser"
        )
    return None
