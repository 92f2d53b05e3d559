"""An engine with rules, as a site may have one: SESSION_ENGINE of tests."""

from django.core.exceptions import PermissionDenied

from sessions_redis import engine


class SessionStore(engine.SessionStore):
    """Its rules are in the synchronous methods alone. They apply in asynchronous code, too."""

    deleted: list[str] = []  # noqa: RUF012 - emptied by each test

    def load(self):
        entries = super().load()
        if entries.get("tenant") == "another":
            self._session_key = None
            return {}
        return entries

    def create(self):
        self["stamp"] = "created"
        super().create()

    def save(self, must_create=False):
        if self.get("frozen"):
            raise PermissionDenied
        super().save(must_create)

    def delete(self, session_key=None):
        self.deleted.append(session_key or self.session_key)
        super().delete(session_key)
