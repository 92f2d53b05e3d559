"""A session in words, as the columns of the list and the rows of its page."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from django.contrib import admin
from django.utils.formats import date_format
from django.utils.html import avoid_wrapping, format_html, format_html_join
from django.utils.safestring import mark_safe
from django.utils.timesince import timesince, timeuntil
from django.utils.timezone import localtime
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from sessions_redis.models import Session
from sessions_redis.registry.live_sessions import NEVER, NOT_KNOWN
from sessions_redis.web.devices import device_of

MINUTE = timedelta(minutes=1)

# Where a word may be broken.
BREAK = mark_safe("<wbr>")

if TYPE_CHECKING:
    SessionModelAdmin = admin.ModelAdmin[Session]
else:
    SessionModelAdmin = admin.ModelAdmin


class ColumnsAdmin(SessionModelAdmin):
    """The part of the section that finds the words. Times are exact where they are pointed at."""

    @admin.display(description=gettext_lazy("ID"))
    def short_id(self, session: Session) -> str:
        short = format_html('<span title="{}">{}</span>', session.pk, session.short_id)
        return _whose(session, short)

    @admin.display(description=gettext_lazy("ID"))
    def whole_id(self, session: Session) -> str:
        return _whose(session, session.pk)

    @admin.display(description=gettext_lazy("user"))
    def user(self, session: Session) -> str:
        if session.user_url is None:
            return session.owner
        return format_html('<a href="{}">{}</a>', session.user_url, session.owner)

    @admin.display(description=gettext_lazy("device"))
    def device(self, session: Session) -> str:
        # A long name may be broken where its words end: Headless|Chrome.
        words = re.split("(?<=[a-z])(?=[A-Z])", device_of(session.user_agent))
        return format_html_join(BREAK, "{}", ((word,) for word in words))

    @admin.display(description=gettext_lazy("IP address"), empty_value="-")
    def address(self, session: Session) -> str:
        # A long one may be broken where its groups end, and is still copied as it is.
        return format_html_join(BREAK, "{}", _groups(session.ip or ""))

    @admin.display(description=gettext_lazy("created"))
    def began(self, session: Session) -> str:
        if session.created == NOT_KNOWN:
            return _("unknown")
        created = localtime(session.created)
        day = avoid_wrapping(date_format(created, "DATE_FORMAT"))
        time = avoid_wrapping(date_format(created, "TIME_FORMAT"))
        return _moment(created, f"{day} {time}")

    @admin.display(description=gettext_lazy("last saved"))
    def saved(self, session: Session) -> str:
        if session.updated == NOT_KNOWN:
            return _("unknown")
        if _now() - session.updated < MINUTE:
            return _moment(session.updated, _("just now"))
        ago = _("%(time)s ago") % {"time": timesince(session.updated)}
        return _moment(session.updated, ago)

    @admin.display(description=gettext_lazy("expires in"), ordering="expires")
    def expires_in(self, session: Session) -> str:
        if session.expires == NEVER:
            return _("never")
        if session.expires - _now() < MINUTE:
            return _moment(session.expires, _("less than a minute"))
        return _moment(session.expires, timeuntil(session.expires))

    @admin.display(description=gettext_lazy("created"))
    def created_exactly(self, session: Session) -> str:
        return exactly(session.created)

    @admin.display(description=gettext_lazy("last saved"))
    def saved_exactly(self, session: Session) -> str:
        return exactly(session.updated)

    @admin.display(description=gettext_lazy("expires"))
    def expires_exactly(self, session: Session) -> str:
        return exactly(session.expires)


def exactly(moment: datetime) -> str:
    """In the site's time zone, also where ``USE_TZ`` is False and templates convert nothing."""
    if moment == NOT_KNOWN:
        return _("unknown")
    if moment == NEVER:
        return _("never")
    return date_format(localtime(moment), "DATETIME_FORMAT")


def _now() -> datetime:
    # Django's own now() is naive where USE_TZ is False.
    return datetime.now(UTC)


def _whose(session: Session, id: str) -> str:
    if not session.is_own:
        return id
    return format_html('{} <span class="own">{}</span>', id, _("(yours)"))


def _groups(ip: str) -> Iterator[tuple[str]]:
    """The parts of an address, each with the colons or the dot that follow."""
    return ((part,) for part in re.findall("[^:.]*[:.]+|[^:.]+", ip))


def _moment(moment: datetime, words: str) -> str:
    return format_html('<span title="{}">{}</span>', exactly(moment), words)
