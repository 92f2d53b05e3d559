from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand
from django.db.models import Q
from django.utils.crypto import get_random_string

USERNAME = "admin"


class Command(BaseCommand):
    help = "Creates a superuser to try the admin with, unless there is one. Says its password once."

    def handle(self, **options: Any) -> None:
        if User.objects.filter(Q(is_superuser=True) | Q(username=USERNAME)).exists():
            self.stdout.write(
                f"There is a superuser, or a user named {USERNAME}, already. "
                f"Forgot the password? Run manage.py changepassword {USERNAME}."
            )
            return
        password = get_random_string(20)
        User.objects.create_superuser(USERNAME, password=password)
        self.stdout.write(
            "To look around in the admin, at /admin/ (written down nowhere else):\n"
            f"  user name: {USERNAME}\n"
            f"  password:  {password}"
        )
