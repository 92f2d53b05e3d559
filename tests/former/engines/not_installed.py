"""An engine whose model is in no installed app."""

from typing import Any

from django.contrib.sessions.backends import db
from django.contrib.sessions.base_session import AbstractBaseSession


class SessionStore(db.SessionStore):
    @classmethod
    def get_model_class(cls) -> Any:
        return type("Session", (AbstractBaseSession,), {"__module__": __name__})
