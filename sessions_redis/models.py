"""
The model of the section "Sessions" in the Django admin. It has no table in the database.

Sessions are stored in Redis. The pages of the admin read them through `registry` and make an
instance of this model for each. The admin needs a model for its names, its permissions and its
log. Queries through the model find no sessions and never reach the database.
"""

from typing import TYPE_CHECKING, Any, NoReturn, Self

from django.db import NotSupportedError, models
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from sessions_redis.registry import LiveSession

# How many of the 32 digits of a session ID to show where there is little room.
SHORT = 8

# How many characters to show of the primary key of a user who was deleted.
LONGEST_PK = 150


class NoRowsManager(models.Manager["Session"]):
    """
    Finds no sessions, and makes no query, because there is no table.

    Commands that go through all models, such as ``dumpdata``, therefore neither fail nor copy
    sessions.
    """

    def get_queryset(self) -> models.QuerySet["Session"]:
        return super().get_queryset().none()


class Session(models.Model):
    """
    A session in the admin. The primary key is the session ID, never the session key.

    ``live``: the session as the registry returned it; ``None`` if it has ended and only the
    admin's log still knows it.

    ``user_label``: the name of its user, or another description if the viewer may not see the
    name; ``""`` if the viewer may not see users at all. ``user_url``: the user's page in the
    admin. ``is_own``: whether it is the viewer's own current session.
    """

    id = models.CharField(_("ID"), max_length=32, primary_key=True)
    user_pk = models.TextField(_("user"), null=True)  # noqa: DJ001 - None as in LiveSession
    ip = models.GenericIPAddressField(_("IP address"), null=True)
    user_agent = models.TextField(_("user agent"), null=True)  # noqa: DJ001
    created = models.DateTimeField(_("created"))
    updated = models.DateTimeField(_("last saved"))
    expires = models.DateTimeField(_("expires"))

    live: "LiveSession | None" = None
    user_label: str | None = None
    user_url: str | None = None
    is_own: bool = False

    objects = NoRowsManager()

    class Meta:
        managed = False
        base_manager_name = "objects"
        # The default permissions would have the same names as those of django.contrib.sessions,
        # whose model is also called Session. The admin lists both where permissions are given.
        default_permissions = ()
        permissions = (
            ("view_session", _("Can view who is signed in")),
            ("delete_session", _("Can end sessions")),
            ("view_session_entries", _("Can view session entries")),
        )
        verbose_name = _("session")
        verbose_name_plural = _("sessions")

    def __str__(self) -> str:
        return f"{self.short_id} ({self.owner})" if self.owner else self.short_id

    def save(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotSupportedError(
            "This model only shows sessions in the admin and cannot save them. Use SessionStore."
        )

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotSupportedError(
            "This model only shows sessions in the admin and cannot delete them. "
            "Use registry.end()."
        )

    @classmethod
    def of(cls, live: "LiveSession") -> Self:
        session = cls(*[getattr(live, field.name) for field in cls._meta.fields])
        session.live = live
        session._state.adding = False
        return session

    @property
    def short_id(self) -> str:
        return self.id[:SHORT]

    @property
    def owner(self) -> str:
        """Its user in one or two words. It has the user's name only if `user_label` has it."""
        if self.user_label is not None:
            return self.user_label
        return gettext("anonymous") if self.user_pk is None else gettext("signed in")


def readable_pk(pk: str) -> str:
    """Shorten and escape a primary key, so that pages and databases accept it."""
    shown = pk if len(pk) <= LONGEST_PK else f"{pk[:LONGEST_PK]}…"
    if shown.isprintable():
        return shown
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in shown)
