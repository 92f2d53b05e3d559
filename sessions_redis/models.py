"""
The section "Sessions" of the Django admin: a model without a table.

Sessions lie in Redis. The admin's pages read them through `registry` and make instances of this
model of them, for the model brings what the admin builds on: names, permissions and a place in
its log. Who asks the database for them finds none, and no query is made.
"""

from typing import TYPE_CHECKING, Any, NoReturn, Self

from django.db import NotSupportedError, models
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from sessions_redis.registry import LiveSession

# Digits of a session's id that are shown where there is no room for all 32.
SHORT = 8

# Characters that are shown of the primary key of a user who is not there any more.
LONGEST_PK = 150


class NoRows(models.Manager["Session"]):
    """
    Finds nothing and asks no database, in which there is no table.

    So what goes through all models, such as ``dumpdata``, neither fails nor copies sessions.
    """

    def get_queryset(self) -> models.QuerySet["Session"]:
        return super().get_queryset().none()


class Session(models.Model):
    """
    A session as the admin shows it. The primary key is the session's id, never its key.

    ``live``: the registry's session; ``None`` if it has ended, and only the log knows it.
    ``whose`` says who its user is in the words for the viewer, as far as that viewer may know;
    ``""`` if not at all. ``user_url``: the user's admin page. ``is_own``: whether the viewer
    is signed in with it.
    """

    id = models.CharField(_("ID"), max_length=32, primary_key=True)
    user_pk = models.TextField(_("user"), null=True)  # noqa: DJ001 - as LiveSession has it
    ip = models.GenericIPAddressField(_("IP address"), null=True)
    user_agent = models.TextField(_("user agent"), null=True)  # noqa: DJ001
    created = models.DateTimeField(_("created"))
    updated = models.DateTimeField(_("last saved"))
    expires = models.DateTimeField(_("expires"))

    live: "LiveSession | None" = None
    whose: str | None = None
    user_url: str | None = None
    is_own: bool = False

    objects = NoRows()

    class Meta:
        managed = False
        base_manager_name = "objects"
        # Django's own would have the names of those of django.contrib.sessions, whose model is
        # called the same. Both stand in the list of permissions to give.
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
            "A session is not saved through this model, which only shows it. Use SessionStore."
        )

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotSupportedError(
            "A session is not deleted through this model, which only shows it. Use registry.end()."
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
        """Its user in a word. It shows a name only if `whose` does."""
        if self.whose is not None:
            return self.whose
        return gettext("anonymous") if self.user_pk is None else gettext("signed in")


def readable_pk(pk: str) -> str:
    """A primary key of any length and characters, for pages and for databases to take."""
    shown = pk if len(pk) <= LONGEST_PK else f"{pk[:LONGEST_PK]}…"
    if shown.isprintable():
        return shown
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in shown)
