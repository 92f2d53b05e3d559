"""For tests of the admin section "Sessions": the URLs of its pages, and what they show."""

import re
from html import unescape
from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from sessions_redis.admin.log import Ending
from sessions_redis.engine import SessionStore
from sessions_redis.storage.commands import session_id
from sessions_redis.storage.entries import AGENT, IP
from tests.site import FIREFOX, KEPT, site_settings


def use_section(settings: Any) -> None:
    """Give this test the demonstration site, with Django's session lifetime and no renewal."""
    for name, value in site_settings().items():
        if name not in KEPT and getattr(settings, name, None) != value:
            setattr(settings, name, value)
    renewal = "config.middleware.renew_in_admin"
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if name != renewal]
    settings.SESSION_COOKIE_AGE = 14 * 86400
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def url(page: str = "changelist", *args: Any) -> str:
    return reverse(f"admin:sessions_redis_session_{page}", args=args)


def staff(name: str, *permissions: str) -> User:
    """A staff member with these permissions, whose password is the user name."""
    user = User.objects.create_user(name, f"{name}@example.com", name, is_staff=True)
    own = Permission.objects.filter(content_type__app_label="sessions_redis")
    user.user_permissions.set(own.filter(codename__in=permissions))
    return user


def signed_in(
    user: Any = None,
    *,
    seconds: int | None = None,
    ip: str = "203.0.113.7",
    agent: str = FIREFOX,
    **entries: Any,
) -> str:
    """Make a session of ``user`` (or its primary key), or an anonymous one. Returns its ID."""
    session = SessionStore()
    session.metadata_source = lambda: {IP: ip.encode(), AGENT: agent.encode()}
    if user is not None:
        session[SESSION_KEY] = user if isinstance(user, str) else str(user.pk)
        session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    if isinstance(user, User):
        session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.update(entries)
    if seconds is not None:
        session.set_expiry(seconds)
    session.save()
    return session_id(session.session_key)


def own_id(client: Client) -> str:
    """The ID of the session with which ``client`` is signed in."""
    return session_id(client.session.session_key)


def said_by(entry: LogEntry) -> str:
    """How a session was ended, according to an entry of the admin's log."""
    ending = Ending.read(entry)
    assert ending is not None
    return ending.in_words("the user")


def text_of(response: Any) -> str:
    """The text of a page, without its markup."""
    page = re.sub(r"<(script|style|svg)\b.*?</\1>", "", response.content.decode(), flags=re.DOTALL)
    page = page.replace("<wbr>", "")  # a place where a word may break
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page)).split())


def listed(response: Any) -> list[str]:
    """The IDs in the list, in order."""
    return [session.pk for session in response.context["cl"].result_list]
