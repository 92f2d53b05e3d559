"""The settings of a site that moves its sessions out of Redis, and the checks of them."""

import sys
from types import ModuleType

import pytest
from django.contrib.sessions.backends import db
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured

from sessions_redis import conf, moving_out
from sessions_redis import engine as ours
from tests.next_engines import ENGINES, MOVING_OUT


class OfAnotherApp(db.SessionStore):
    """An engine whose app is not installed."""

    @classmethod
    def get_model_class(cls):
        raise RuntimeError("Model isn't in an application in INSTALLED_APPS.")


class Ours(ours.SessionStore):
    """A site's own engine that keeps sessions in Redis."""


@pytest.fixture
def engine_with(monkeypatch):
    """The path of a module that has this as its SessionStore."""

    def module(store):
        made = ModuleType("engine_of_a_test")
        made.SessionStore = store
        monkeypatch.setitem(sys.modules, made.__name__, made)
        return made.__name__

    return module


@pytest.fixture
def said(settings, session_redis):
    """What the checks say if the site moves its sessions out to this engine."""

    def messages(engine=MOVING_OUT, **setting):
        settings.SESSION_REDIS = {**session_redis, **setting}
        settings.SESSION_ENGINE = engine
        found = [one for one in run_checks() if (one.id or "").startswith("sessions_redis.")]
        return [(one.id.removeprefix("sessions_redis."), f"{one.msg} {one.hint}") for one in found]

    return messages


@pytest.mark.parametrize("name", ENGINES.values())
def test_an_engine(said, name):
    """Django's engines that store sessions are in order."""
    assert said(NEXT_ENGINE=name) == []


def test_no_next_engine(said):
    """Without NEXT_ENGINE, the check and the engine say what to write."""
    ((id, text),) = said()
    assert id == "E032"
    assert 'SESSION_REDIS has no "NEXT_ENGINE". Write the path of the engine' in text
    with pytest.raises(ImproperlyConfigured, match="NEXT_ENGINE"):
        moving_out.SessionStore  # noqa: B018


WRONG = {
    "": "is empty",
    "sessions_redis.engine": "keeps sessions in Redis, where they are now",
    "sessions_redis.moving_out": "moves sessions to the next one",
    "django.contrib.sessions.backends.signed_cookies": "keeps each session in the visitor's cookie",
    7: "is int, not the path of an engine",
}


@pytest.mark.parametrize(("path", "reason"), WRONG.items())
def test_an_engine_that_cannot_be_the_next(said, path, reason):
    """The settings name an engine to which no session can move. The error says why."""
    ((id, text),) = said(NEXT_ENGINE=path)
    assert id == "E004"
    assert reason in text
    with pytest.raises(ImproperlyConfigured, match="NEXT_ENGINE"):
        conf.current()


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("no.such.engine", "No module named 'no'"),
        ("json", "SessionStore"),
        ("django.contrib.sessions.backends.db.SessionStore", "is not a package"),
    ],
)
def test_a_path_without_an_engine(said, path, reason):
    """The path is that of no engine."""
    ((id, text),) = said(NEXT_ENGINE=path)
    assert id == "E032"
    assert f"{path!r} is not the module of a session engine" in text
    assert reason in text
    with pytest.raises(ImproperlyConfigured, match="NEXT_ENGINE"):
        moving_out.SessionStore  # noqa: B018


@pytest.mark.parametrize(
    ("store", "reason"),
    [(OfAnotherApp, "isn't in an application in INSTALLED_APPS"), (Ours, "is this engine itself")],
)
def test_an_engine_of_the_site(said, engine_with, store, reason):
    """An engine of the site's own that does not work here."""
    ((id, text),) = said(NEXT_ENGINE=engine_with(store))
    assert id == "E032"
    assert reason in text


def test_a_next_engine_without_effect(said):
    """NEXT_ENGINE does nothing while the site runs on Redis."""
    ((id, text),) = said(engine="sessions_redis.engine", NEXT_ENGINE=ENGINES["db"])
    assert id == "W033"
    assert "no session moves" in text


def test_other_mistakes(said):
    """The other checks of SESSION_REDIS apply as well, because Redis is still read."""
    assert [id for id, _ in said(NEXT_ENGINE=ENGINES["db"], LOCATION="http://localhost")] == [
        "E003"
    ]
