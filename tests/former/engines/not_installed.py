"""An engine whose model is in no installed app."""

from typing import Any

from django.contrib.sessions.backends import db
from django.contrib.sessions.base_session import AbstractBaseSession


class SessionStore(db.SessionStore):
    @classmethod
    def get_model_class(cls) -> Any:
        class Session(AbstractBaseSession):
            pass

        return Session
