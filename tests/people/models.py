"""User models that sites may use instead of Django's own."""

import uuid
from typing import TYPE_CHECKING, Any

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import models

if TYPE_CHECKING:
    Text = models.CharField[str, str]
else:
    Text = models.CharField


class Person(AbstractBaseUser):
    """The primary key is a UUID. Signs in with an e-mail address."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    email = models.EmailField(unique=True)

    USERNAME_FIELD = "email"


class Member(AbstractBaseUser):
    """The primary key is the user name, which is any text. Has no e-mail address."""

    name = models.CharField(max_length=50, primary_key=True)

    USERNAME_FIELD = "name"


class Employee(AbstractBaseUser):
    """The primary key is a relation to a person."""

    person = models.OneToOneField(Person, models.CASCADE, primary_key=True)

    USERNAME_FIELD = "person"


class Badge(Text):
    """A site's own field, which does not always raise ``ValidationError``."""

    def to_python(self, value: Any) -> Any:
        self.refuse(value, "v", ValueError)
        self.refuse(value, "t", TypeError)
        return super().to_python(value)

    def get_prep_value(self, value: Any) -> Any:
        self.refuse(value, "p", ValueError)
        return super().get_prep_value(value)

    def value_to_string(self, obj: models.Model) -> str:
        self.refuse(obj.pk, "s", TypeError)
        text: str = super().value_to_string(obj)
        return text

    def refuse(self, value: Any, first: str, error: type[Exception]) -> None:
        if value.startswith(first):
            raise error(f"{value} is not a badge.")


class Guest(AbstractBaseUser):
    """The primary key is a badge."""

    badge = Badge(max_length=50, primary_key=True)
    name = models.CharField(max_length=50)

    USERNAME_FIELD = "name"


class Staffer(Person):
    """Persons under another name, as some sites have them in the admin."""

    class Meta:
        proxy = True
