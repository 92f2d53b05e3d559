"""The checks of END_ON_DEACTIVATION and END_ON_PASSWORD_CHANGE."""

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured

from sessions_redis import conf
from sessions_redis.middleware import SessionMiddleware

OWN = "sessions_redis.middleware.SessionMiddleware"

NAMES = ["END_ON_DEACTIVATION", "END_ON_PASSWORD_CHANGE"]


class OfASite(SessionMiddleware):
    """A site's own middleware."""


def found():
    return [(one.id, one.msg) for one in run_checks(tags=["sessions_redis"])]


@pytest.mark.parametrize("name", NAMES)
def test_wrong_values(settings, session_redis, name):
    """Each setting is True or False."""
    settings.SESSION_REDIS = {**session_redis, name: "yes"}
    assert found() == [
        ("sessions_redis.E004", f'SESSION_REDIS["{name}"] is str, not True or False.')
    ]


@pytest.mark.parametrize("name", NAMES)
def test_without_an_index(settings, session_redis, name):
    """Without the indexes, nobody finds the sessions of a user."""
    settings.MIDDLEWARE = [OWN]
    settings.SESSION_REDIS = {**session_redis, "INDEX": False, name: True}
    ((id, message),) = found()
    assert (id, f'["{name}"] is True, but "INDEX" is False' in message) == (
        "sessions_redis.E004",
        True,
    )
    with pytest.raises(ImproperlyConfigured, match=name):
        conf.current()
    settings.SESSION_REDIS = {**session_redis, "INDEX": False, name: False}
    assert found() == []


@pytest.mark.parametrize(
    ("middleware", "ids"),
    [
        (["django.contrib.sessions.middleware.SessionMiddleware"], ["sessions_redis.E039"]),
        (["nowhere.Middleware", f"{__name__}.found"], ["sessions_redis.E039"]),
        ([OWN], []),
        ([f"{__name__}.OfASite"], []),
    ],
)
def test_the_middleware(settings, session_redis, middleware, ids):
    """Only this package's middleware, or a subclass, knows which session changed a password."""
    settings.MIDDLEWARE = middleware
    settings.SESSION_REDIS = {**session_redis, "END_ON_PASSWORD_CHANGE": True}
    assert [id for id, _ in found()] == ids
    settings.SESSION_REDIS = {**session_redis, "END_ON_DEACTIVATION": True}
    assert found() == []
