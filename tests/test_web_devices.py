"""Tests the description of a device from its user agent."""

import sys

import pytest
from django.utils import translation

from sessions_redis import user_agents
from sessions_redis.web.devices import device_of
from tests.site import FIREFOX

WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
CHROME = f"{WEBKIT} Chrome/131.0.0.0 Safari/537.36"
MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5)"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X)"
KNOWN = {
    FIREFOX: "Firefox on Linux",
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {CHROME}": "Chrome on Windows",
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {CHROME} Edg/131.0.0.0": "Edge on Windows",
    f"{MAC} AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15": (
        "Safari on Mac OS X"
    ),
    f"{IPHONE} {WEBKIT} Version/17.5 Mobile/15E148 Safari/604.1": "Mobile Safari on iOS",
    f"Mozilla/5.0 (Linux; Android 14; Pixel 8) {WEBKIT} Chrome/131.0.0.0 Mobile Safari/537.36": (
        "Chrome Mobile on Android"
    ),
    f"{IPHONE} {WEBKIT} CriOS/126.0.6478.54 Mobile/15E148 Safari/604.1": "Chrome Mobile on iOS",
    f"{IPHONE} {WEBKIT} FxiOS/127.0 Mobile/15E148 Safari/605.1.15": "Firefox on iOS",
    f"Mozilla/5.0 (Linux; U; Android 4.0.3) {WEBKIT} Version/4.0 Mobile Safari/534.30": "Android",
}


@pytest.fixture
def without_parser(monkeypatch):
    monkeypatch.setitem(sys.modules, "ua_parser", None)
    user_agents.parser.cache_clear()
    yield
    user_agents.parser.cache_clear()


@pytest.mark.parametrize("user_agent", KNOWN)
def test_browsers(user_agent):
    """The description has the names of the browser and of the system."""
    assert device_of(user_agent) == KNOWN[user_agent]


def test_half_known():
    """If only the program or only the system is recognized, the description is that one."""
    assert device_of("curl/8.5.0") == "curl"
    assert device_of("unheard-of (X11; Linux x86_64)") == "Linux"


@pytest.mark.parametrize("nothing", [None, ""])
def test_no_user_agent(nothing):
    """Without a user agent, the device is unknown."""
    assert device_of(nothing) == "Unknown device"


@pytest.mark.parametrize("user_agent", ["junk", "<b>", "%(browser)s", "ÿ🦊", "\\udcff"])
def test_a_user_agent_that_is_not_known(user_agent):
    """A user agent that is not recognized shows as it is."""
    assert device_of(user_agent) == user_agent


def test_a_long_user_agent_that_is_not_known():
    """A long user agent is shortened and ends with an ellipsis."""
    assert device_of("x" * 250) == "x" * 59 + "…"


def test_without_the_parser(without_parser):
    """Without the optional parser, the shortened user agent shows."""
    assert device_of(FIREFOX) == FIREFOX[:59] + "…"
    assert device_of(None) == "Unknown device"


def test_other_languages():
    """The description is in the language that is active when it is made."""
    with translation.override("de"):
        assert device_of(FIREFOX) == "Firefox auf Linux"
    with translation.override("ja"):
        assert device_of(FIREFOX) == "Linux の Firefox"
