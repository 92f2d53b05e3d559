"""Describes a device in words, such as "Firefox on Linux", from the user agent of its browser."""

from django.utils.text import Truncator
from django.utils.translation import gettext as _

from sessions_redis.user_agents import browser_and_system

# How many characters to show of a user agent that is not recognized.
MAX_SHOWN = 60


def device_of(user_agent: str | None) -> str:
    """
    Describe the device in the language of the request: "Firefox on Linux".

    Returns the first `MAX_SHOWN` characters of a user agent that is not recognized. Without the
    package ``ua-parser`` (the extra ``devices``), that is any user agent. Returns "Unknown
    device" if there is no user agent.
    """
    if not user_agent:
        return _("Unknown device")
    return in_words(*names_of(user_agent))


def names_of(user_agent: str) -> tuple[str, str | None]:
    """
    Return the names of the browser and of its system, for `in_words`: "Firefox", "Linux".

    If only one of them is known, or none, the second is ``None``.
    """
    browser, system = browser_and_system(user_agent)
    if browser and system and browser != system:
        # Some browser names end with the system: "Chrome Mobile iOS".
        return browser.removesuffix(f" {system}"), system
    return browser or system or Truncator(user_agent).chars(MAX_SHOWN), None


def in_words(browser: str, system: str | None) -> str:
    """Describe a device in the language of the request, from what `names_of` returned."""
    if system is None:
        return browser
    return _("%(browser)s on %(system)s") % {"browser": browser, "system": system}
