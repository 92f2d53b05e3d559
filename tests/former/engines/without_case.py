"""Django's database engine on a table that compares keys without case, as MySQL's tables do."""

from django.contrib.sessions.backends import db
from django.contrib.sessions.base_session import AbstractBaseSession
from django.db import models


class Session(AbstractBaseSession):
    session_key = models.CharField(max_length=40, primary_key=True, db_collation="NOCASE")

    class Meta(AbstractBaseSession.Meta):
        app_label = "former_engines"


class SessionStore(db.SessionStore):
    @classmethod
    def get_model_class(cls) -> type[Session]:
        return Session
