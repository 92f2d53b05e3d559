"""An engine with rules of its own, as a site may have. Tests use it as SESSION_ENGINE."""

from django.core.exceptions import PermissionDenied

from sessions_redis import engine


class SessionStore(engine.SessionStore):
    """Only the synchronous methods have the rules. The rules apply to asynchronous code as well."""

    deleted: list[str] = []  # noqa: RUF012 - each test empties it

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
