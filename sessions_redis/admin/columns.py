"""What the admin shows of a session: the columns of the list and the fields of its page."""

import re
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from django.contrib import admin
from django.utils.formats import date_format
from django.utils.html import avoid_wrapping, format_html, format_html_join
from django.utils.safestring import mark_safe
from django.utils.timesince import timeuntil
from django.utils.timezone import localtime
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext

from sessions_redis import conf
from sessions_redis.binding import network_of
from sessions_redis.models import Session
from sessions_redis.registry.live_sessions import NEVER, NOT_KNOWN
from sessions_redis.web.devices import device_of
from sessions_redis.web.moments import MINUTE, ago, now

# A place where the browser may break a long word.
BREAK = mark_safe("<wbr>")

if TYPE_CHECKING:
    SessionModelAdmin = admin.ModelAdmin[Session]
else:
    SessionModelAdmin = admin.ModelAdmin


class ColumnsAdmin(SessionModelAdmin):
    """Makes the columns and fields. Pointing at a relative time shows the exact one."""

    @admin.display(description=gettext_lazy("ID"))
    def short_id(self, session: Session) -> str:
        short = format_html('<span title="{}">{}</span>', session.pk, session.short_id)
        return _marked_if_own(session, short)

    @admin.display(description=gettext_lazy("ID"))
    def whole_id(self, session: Session) -> str:
        return _marked_if_own(session, session.pk)

    @admin.display(description=gettext_lazy("user"))
    def user(self, session: Session) -> str:
        if session.user_url is None:
            return session.owner
        return format_html('<a href="{}">{}</a>', session.user_url, session.owner)

    @admin.display(description=gettext_lazy("device"))
    def device(self, session: Session) -> str:
        # A long name may break between its words: Headless|Chrome, but not i|OS.
        words = re.split("(?<=[a-z]{2})(?=[A-Z])", device_of(session.user_agent))
        return format_html_join(BREAK, "{}", ((word,) for word in words))

    @admin.display(description=gettext_lazy("IP address"), empty_value="-")
    def address(self, session: Session) -> str:
        # A long address may break between its groups. Copying it still gives the plain address.
        return format_html_join(BREAK, "{}", _groups(session.ip or ""))

    @admin.display(description=gettext_lazy("bound to"))
    def bound_to(self, session: Session) -> str:
        shown = {
            "device": device_of(session.user_agent) if session.user_agent else None,
            "network": network_of((session.ip or "").encode()),
        }
        bound = [place for name in conf.current().bind_to if (place := shown[name])]
        return ", ".join(bound) or pgettext("bound to", "nothing yet")

    @admin.display(description=gettext_lazy("created"))
    def began(self, session: Session) -> str:
        if session.created == NOT_KNOWN:
            return _("unknown")
        created = localtime(session.created)
        # Translators: the date in the list. Write SHORT_DATE_FORMAT if DATE_FORMAT is too wide.
        date = pgettext("format in a narrow column", "DATE_FORMAT")
        day = avoid_wrapping(date_format(created, date))
        time = avoid_wrapping(date_format(created, "TIME_FORMAT"))
        return _moment(created, f"{day} {time}")

    @admin.display(description=gettext_lazy("last active"), ordering="last_active")
    def active(self, session: Session) -> str:
        moment = _last_active(session)
        return _("unknown") if moment == NOT_KNOWN else _moment(moment, ago(moment))

    @admin.display(description=gettext_lazy("expires in"), ordering="expires")
    def expires_in(self, session: Session) -> str:
        if session.expires == NEVER:
            return pgettext("expires in", "never")
        if session.expires - now() < MINUTE:
            return _moment(session.expires, _("less than a minute"))
        return _moment(session.expires, timeuntil(session.expires))

    @admin.display(description=gettext_lazy("created"))
    def created_exactly(self, session: Session) -> str:
        return exactly(session.created)

    @admin.display(description=gettext_lazy("last saved"))
    def saved_exactly(self, session: Session) -> str:
        return exactly(session.updated)

    @admin.display(description=gettext_lazy("last active"))
    def active_exactly(self, session: Session) -> str:
        return exactly(_last_active(session))

    @admin.display(description=gettext_lazy("expires"))
    def expires_exactly(self, session: Session) -> str:
        return exactly(session.expires)

    @admin.display(description=gettext_lazy("ends, even if it is in use"))
    def ends_exactly(self, session: Session) -> str:
        return exactly(ends_of(session) or NEVER)


def ends_of(session: Session) -> datetime | None:
    """When it ends even if it is in use; ``None`` if it does not, or has ended."""
    return None if session.live is None else session.live.ends


def exactly(moment: datetime) -> str:
    """Format a time in the site's time zone, even with ``USE_TZ = False``."""
    if moment == NOT_KNOWN:
        return _("unknown")
    if moment == NEVER:
        return _("never")
    return date_format(localtime(moment), "DATETIME_FORMAT")


def _last_active(session: Session) -> datetime:
    # A session that only the admin's log knows has ended.
    return NOT_KNOWN if session.live is None else session.live.last_active


def _marked_if_own(session: Session, id: str) -> str:
    if not session.is_own:
        return id
    return format_html('{} <span class="own">{}</span>', id, _("(yours)"))


def _groups(ip: str) -> Iterator[tuple[str]]:
    """Split an address after each dot, colon or pair of colons."""
    return ((part,) for part in re.findall("[^:.]*[:.]+|[^:.]+", ip))


def _moment(moment: datetime, words: str) -> str:
    return format_html('<span title="{}">{}</span>', exactly(moment), words)
