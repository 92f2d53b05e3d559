"""Recognizes browsers and operating systems in user agents, with ``ua-parser`` if it is there."""

from functools import cache
from typing import Any


def browser_and_system(user_agent: str) -> tuple[str | None, str | None]:
    """
    The names of the browser and of its system, without versions: "Firefox", "Linux".

    ``None`` for what is not recognized. Without the package ``ua-parser`` (the extra ``devices``),
    nothing is.
    """
    known = parser()
    if known is None:
        return None, None
    browser, system = known.parse_user_agent(user_agent), known.parse_os(user_agent)
    return browser and browser.family, system and system.family


@cache
def parser() -> Any:
    """The module ``ua_parser``; ``None`` if it is not installed."""
    try:
        import ua_parser  # noqa: PLC0415 - optional, and takes 0.2 s to import
    except ImportError:
        return None
    return ua_parser
