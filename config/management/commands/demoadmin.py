from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError
from django.utils.crypto import get_random_string

USERNAME = "admin"


class Command(BaseCommand):
    help = (
        "Creates a superuser to try the admin with, unless there is one, and prints its password "
        "once. For development only."
    )

    def handle(self, **options: Any) -> None:
        if not settings.DEBUG:
            raise CommandError(
                "demoadmin prints the password of the superuser that it creates, so it works in "
                "development only. In production, run: python manage.py createsuperuser"
            )
        if there := _who_is_there():
            self.stdout.write(there)
            return
        password = get_random_string(20)
        User.objects.create_superuser(USERNAME, password=password)
        self.stdout.write(
            "To look around in the admin, at /admin/ (written down nowhere else):\n"
            f"  user name: {USERNAME}\n"
            f"  password:  {password}"
        )


def _who_is_there() -> str | None:
    superuser = User.objects.filter(is_superuser=True).order_by("pk").first()
    if superuser:
        name = superuser.username
        return (
            f"There is a superuser already: {name}. Forgot the password? "
            f"Run: .venv/bin/python manage.py changepassword {name}"
        )
    if User.objects.filter(username=USERNAME).exists():
        return (
            f"There is a user named {USERNAME} already, who is not a superuser. To use the admin, "
            "run: .venv/bin/python manage.py createsuperuser"
        )
    return None
