"""A visitor's device in words, from the user agent that the session middleware kept."""

from functools import cache
from typing import Any

from django.utils.text import Truncator
from django.utils.translation import gettext as _

# Characters shown of a user agent that says nothing known.
SHORTENED = 60


def device_of(user_agent: str | None) -> str:
    """
    Such as "Firefox on Linux", in the language of the request.

    A user agent that is not known, and any without the package ``ua-parser`` (the extra
    ``devices``), is shown itself, shortened. None at all is an "Unknown device".
    """
    if not user_agent:
        return _("Unknown device")
    browser, system = _known(user_agent)
    if browser and system and browser != system:
        # Some browsers have the system in their name: "Chrome Mobile iOS".
        browser = browser.removesuffix(f" {system}")
        return _("%(browser)s on %(system)s") % {"browser": browser, "system": system}
    return browser or system or Truncator(user_agent).chars(SHORTENED)


def _known(user_agent: str) -> tuple[str | None, str | None]:
    parser = _parser()
    if parser is None:
        return None, None
    browser, system = parser.parse_user_agent(user_agent), parser.parse_os(user_agent)
    return browser and browser.family, system and system.family


@cache
def _parser() -> Any:
    try:
        import ua_parser  # noqa: PLC0415 - an extra, which takes 0.2 s to load
    except ImportError:
        return None
    return ua_parser
