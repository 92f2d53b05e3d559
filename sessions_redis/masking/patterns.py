"""
Finds the parts of a text that look like secrets.

The time that a pattern takes is proportional to the length of the text. If a pattern can fail after
a repetition, that has an upper limit or is possessive (``*+``), so that it does not backtrack.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sessions_redis.masking.masked import Why

# The forms of access tokens of services, and of the password hashes of frameworks.
TOKENS = {
    "AWS": r"(?:AKIA|ASIA)[A-Z0-9]{16}",
    "GitHub": r"gh[opsur]_[A-Za-z0-9]{20,}|github_pat_\w{20,}",
    "GitLab": r"gl(?:pat|dt|rt|ptt|cbt|ft|soat|agent)-[\w-]{20,}",
    "Google": r"AIza[\w-]{30,}|GOCSPX-[\w-]{20,}|ya29\.[\w-]{20,}",
    "Hugging Face": r"hf_[A-Za-z0-9]{20,}",
    "npm": r"npm_[A-Za-z0-9]{20,}",
    "OpenAI, Anthropic": r"sk-[\w-]{20,}",
    "PyPI": r"pypi-[\w-]{20,}",
    "SendGrid": r"SG\.[\w-]{16,}\.[\w-]{16,}",
    "Shopify": r"shp[a-z]{2}_[A-Za-z0-9]{20,}",
    "Slack": r"xox[a-z]-[\w-]{8,}|xapp-[\w-]{8,}",
    "Stripe": r"[rs]k_(?:live|test)_\w{8,}|whsec_\w{8,}",
    "Telegram": r"\d{8,10}:AA[\w-]{30,}",
    "password hashes": r"(?:pbkdf2_\w{4,10}|bcrypt(?:_sha256)?|scrypt|argon2)\$[\w$.,+/=-]{16,}"
    r"|\$(?:2[aby]|argon2[a-z]{1,2}|[156y])\$[\w$.,+/=-]{16,}",
}  # fmt: skip

_TOKEN = re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(TOKENS.values())})")
_JWT = re.compile(r"(?<![\w-])eyJ[\w-]{4,}+(?:\.[\w-]*+){1,4}")
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:(?!-----END ).)*+(?:-----END [A-Z0-9 ]{0,60}-----)?",
    re.DOTALL,
)
_URL_PASSWORD = re.compile(r"(?<=://)[^\s/?#:@\"']*+:([^\s/?#@\"']++)@")
_SCHEME = re.compile(r"\b(?:Bearer|Basic|Negotiate)\s{1,3}([\w.~+/-]{6,}+=*+)", re.IGNORECASE)
# A name, with or without quotes, and the characters between the name and its value.
_NAME = re.compile(
    r"(?<![\w.-])(?P<name>[^\W\d][\w.-]*+)"
    r"(?:(?P<quoted>[\"'\\]{1,6}[ \t]{0,5}(?:=>|[=:,]))|[ \t]{0,5}(?:=>|:?=|(?P<line>:)))"
    r"[ \t]{0,5}"
)
_PLACEHOLDER = r"\[hidden: [^\]\n]*+\]"
# Text in quotes, up to a quote that is not escaped. A list or an object, up to the end of the text.
_QUOTED = r"\"(?:[^\"\\]|\\.)*+\"?|'(?:[^'\\]|\\.)*+'?|[\[{].*+"
_VALUE = re.compile(rf"(?:{_PLACEHOLDER}|{_QUOTED}|[^\s&;,\"'<>)\]}}])++", re.DOTALL)
# The rest of the line, as in a header, whose value may contain spaces.
_LINE = re.compile(rf"(?:{_PLACEHOLDER}|{_QUOTED}|[^\r\n])++", re.DOTALL)
_DIGITS = re.compile(r"(?<![\d.+])\d(?:[ -]?\d){12,}+")
_GROUP = re.compile(r"\d+")
_RUN = re.compile(r"[A-Za-z0-9_+/-]{22,}+=*+")

# The number of characters for 128 random bits: in hexadecimal, in letters of one case and digits,
# and in letters of both cases and digits.
HEXADECIMAL, ONE_CASE, BOTH_CASES = 32, 25, 22

# The number of characters by which `is_random` judges a text.
_RANDOMNESS_SAMPLE = 1_000

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_IMAGE = re.compile(r"iVBORw0KGgo|/9j/|R0lGOD|UklGR|PHN2Z")
_IMAGE_URL = re.compile(r"data:image/[\w.+-]{1,40};base64,$")
_WORDS = re.compile(r"(?:[a-z]{1,12}[/_-])++")
_SEGMENT = re.compile(r"[A-Za-z0-9]{4,}")
# A word, a number or an abbreviation. Random text has many short ones.
_PIECE = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a text that must be hidden, from ``start`` to ``stop``, and the reason."""

    start: int
    stop: int
    why: Why


def named_secrets_in(text: str, is_secret: Callable[[str], bool]) -> Iterator[Part]:
    """
    The values in ``text`` whose names are secret.

    Such text can be a query string, a cookie, a header, or JSON that was cut off.
    """
    stop = 0
    for match in _NAME.finditer(text):
        if match.start() < stop or not is_secret(match["name"]):
            continue
        value = (_LINE if match["line"] else _VALUE).match(text, match.end())
        if value:
            stop = value.end()
            yield Part(*value.span(), Why.NAME)


def secrets_in(text: str) -> Iterator[Part]:
    """The parts of ``text`` that look like secrets, regardless of names. They may overlap."""
    yield from _found(_PRIVATE_KEY, text, Why.PRIVATE_KEY)
    yield from _found(_JWT, text, Why.JWT)
    yield from _found(_TOKEN, text, Why.TOKEN)
    yield from _found(_URL_PASSWORD, text, Why.URL, group=1)
    yield from _found(_SCHEME, text, Why.HEADER, group=1, if_=_is_credentials)
    yield from _cards(text)
    yield from _random(text)


def _found(
    pattern: re.Pattern[str],
    text: str,
    why: Why,
    *,
    group: int = 0,
    if_: Callable[[str], bool] = bool,
) -> Iterator[Part]:
    for match in pattern.finditer(text):
        if if_(match[group]):
            yield Part(*match.span(group), why)


def _is_credentials(text: str) -> bool:
    """Whether ``text`` is not a word. The text "basic understanding" is not a header."""
    is_word = len(text) < 12 or text[1:].islower()
    return not is_word or "=" in text or any(map(str.isdigit, text))


def _cards(text: str) -> Iterator[Part]:
    runs = list(_DIGITS.finditer(text))
    uuids = _UUID.finditer(text) if runs else ()
    in_uuids = {place for uuid in uuids for place in range(*uuid.span())}
    for match in runs:
        groups = [(group.start() + match.start(), group[0]) for group in _GROUP.finditer(match[0])]
        for first, (start, _) in enumerate(groups):
            digits = ""
            for place, group in groups[first : first + 5]:
                digits += group
                if _is_card(digits) and start not in in_uuids:
                    yield Part(start, place + len(group), Why.CARD)
                if len(group) < 4:  # Cards have their digits in groups of four or more.
                    break


def _is_card(digits: str) -> bool:
    """
    Whether ``digits`` are a card number: they have a right check digit and a bank's first digit.

    Times in seconds or milliseconds begin with 1, which is not a bank's.
    """
    if not 13 <= len(digits) <= 19 or digits[0] not in ("23456" if len(digits) == 16 else "3456"):
        return False
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits))]
    return len(set(digits)) > 1 and sum(sum(divmod(number, 10)) for number in doubled) % 10 == 0


def _random(text: str) -> Iterator[Part]:
    for match in _RUN.finditer(text):
        start, stop = match.span()
        if _UUID.fullmatch(match[0]) or _IMAGE.match(match[0]) or not is_random(match[0]):
            continue
        if not _IMAGE_URL.search(text, max(0, start - 70), start):
            # Words in front of it say what the token is for, or are a path. They stay visible.
            words = _WORDS.match(match[0])
            yield Part(start + words.end() if words else start, stop, Why.RANDOM)


def is_random(run: str) -> bool:
    """Whether letters and digits alternate more often than in words and numbers."""
    segments = _SEGMENT.findall(run[:_RANDOMNESS_SAMPLE])
    if any(_is_hexadecimal(segment) for segment in segments):
        return True
    long = "".join(segments)
    letters = sum(map(str.isalpha, long))
    if len(set(long)) < 10 or not 0.35 <= letters / len(long) < 1:
        return False
    pieces = sum(len(_PIECE.findall(segment)) for segment in segments)
    has_both_cases = not long.islower() and not long.isupper()
    if has_both_cases:
        return len(long) >= BOTH_CASES - 6 and len(long) <= 3.3 * pieces
    if len(long) < ONE_CASE or letters > 0.92 * len(long):
        return False
    # Paths and slugs consist of several segments and may contain numbers.
    return len(long) <= (5.0 if len(segments) == 1 else 3.5) * pieces


def _is_hexadecimal(segment: str) -> bool:
    if len(segment) < HEXADECIMAL or len(set(segment)) < 8:
        return False
    return re.fullmatch("[0-9a-f]+|[0-9A-F]+", segment) is not None
