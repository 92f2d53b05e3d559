"""User models that sites may have in place of Django's own."""

import uuid

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import models


class Person(AbstractBaseUser):
    """Known by a UUID, and signs in with an e-mail address."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    email = models.EmailField(unique=True)

    USERNAME_FIELD = "email"


class Member(AbstractBaseUser):
    """Known by its name, which is any text; has no e-mail address."""

    name = models.CharField(max_length=50, primary_key=True)

    USERNAME_FIELD = "name"


class Employee(AbstractBaseUser):
    """Known by the person it is."""

    person = models.OneToOneField(Person, models.CASCADE, primary_key=True)

    USERNAME_FIELD = "person"
