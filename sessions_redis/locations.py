"""
Checks ``SESSION_REDIS["LOCATION"]``, a URL, and removes its secrets for messages.

No message repeats a part of the URL that may belong to a password. If a password contains a special
character, ``urlsplit`` splits the URL in the wrong place: in ``redis://user:12?x@host`` it finds
the host ``user`` and the port 12.
"""

import re
from collections.abc import Iterator
from difflib import get_close_matches
from ipaddress import ip_address
from urllib.parse import SplitResult, parse_qsl, urlsplit

from sessions_redis import clusters, hosts, services

# An example of each scheme, for error messages.
SCHEMES = {
    "redis": "redis://host:6379/0",
    "rediss": "rediss://host:6379/0 (TLS)",
    "redis+sentinel": "redis+sentinel://host1:26379,host2:26379/service/0",
    "rediss+sentinel": "rediss+sentinel://host1:26379,host2:26379/service/0 (TLS)",
    "redis+cluster": "redis+cluster://host1:6379,host2:6379",
    "rediss+cluster": "rediss+cluster://host1:6379,host2:6379 (TLS)",
    "unix": "unix:///path/to/redis.sock",
    "embedded": "embedded:///directory (development)",
    "memory": "memory:// (tests)",
}

# In these schemes, the rest of the URL is a path or a name. It is used as written, without
# decoding.
LITERAL = {"embedded", "memory"}

# The remedy for special characters in a password.
ENCODE = (
    "In a URL, percent-encode the special characters of user and password: "
    'urllib.parse.quote(password, safe="") does it. Or take both out of the URL and write '
    '"OPTIONS": {"username": …, "password": …}, without encoding.'
)

# redis-py also accepts user and password as options of the URL, under these names.
CREDENTIALS = {"username", "password"}


def shown(location: str) -> str:
    """``location`` without its user, password and options, for messages and logs."""
    scheme, _, rest = location.partition("://")
    if scheme == "embedded":
        return location
    return f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}"


def has_credentials(location: str) -> bool:
    """Whether a valid ``location`` contains a user or a password."""
    if location.partition("://")[0] in LITERAL:
        return False
    url = _split_url(location)
    return "@" in url.netloc or any(name in CREDENTIALS for name, _ in parse_qsl(url.query))


def has_password(location: str) -> bool:
    """Whether a valid ``location`` contains a password."""
    if location.partition("://")[0] in LITERAL:
        return False
    return bool(_split_url(location).password) or has_password_option(location)


def has_password_option(location: str) -> bool:
    """Whether a valid ``location`` has its password behind the ``?``."""
    if location.partition("://")[0] in LITERAL:
        return False
    return any(name == "password" for name, _ in parse_qsl(_split_url(location).query))


def _split_url(location: str) -> SplitResult:
    has_several = services.is_service(location) or clusters.is_cluster(location)
    return urlsplit(hosts.with_one_host(location) if has_several else location)


def options(location: str) -> set[str]:
    """The names of the options behind the ``?`` of a valid ``location``."""
    return {name for name, _ in parse_qsl(location.partition("?")[2], keep_blank_values=True)}


def problem(location: str) -> tuple[str, str] | None:
    """The mistake in ``location`` and its remedy, as text. ``None`` if ``location`` is valid."""
    scheme, separator, rest = location.partition("://")
    reason = _bad_scheme(scheme if separator else "")
    if reason is None and scheme not in LITERAL:
        for reason in _badly_encoded(location, scheme, rest):
            return reason, ENCODE
        reason = next(_bad_address(location, scheme), None)
    elif reason is None and scheme == "embedded" and not rest:
        reason = "has no path"
    return None if reason is None else (reason, f"Write one of {', '.join(SCHEMES.values())}.")


def _bad_scheme(scheme: str) -> str | None:
    if not re.fullmatch("[A-Za-z][A-Za-z0-9+.-]*", scheme):
        return "is not a URL: it does not start with a scheme and ://"
    if scheme not in SCHEMES:
        close = get_close_matches(scheme, SCHEMES, n=1)
        meant = f" (did you mean {close[0]}://?)" if close else ""
        return f"has the scheme {scheme}://, which is unknown{meant}"
    return None


def _badly_encoded(location: str, scheme: str, rest: str) -> Iterator[str]:
    # Split as urlsplit() does: at the first of / ? #, even if that is a part of the password.
    first, path, query, fragment = _split(rest)
    may_have_at = scheme == "unix" and not first  # the path of a socket may have an @: redis@1.sock
    if "@" in query + fragment or ("@" in path and not may_have_at):
        yield "has an @ after its host: in its user or password, a / ? or # is not percent-encoded"
    if fragment:
        yield "has a #, which must be percent-encoded as %23"
    if re.search(r"[\t\r\n]", location.rstrip()):
        yield "has a tab or a line break, which must be percent-encoded"
    if not hosts.is_text(first):
        yield "has a user or password that does not decode to UTF-8 text; write a % as %25"
    yield from _bad_options(query.removeprefix("?"))
    try:
        _split_url(location)
    except ValueError:
        # Python's message would repeat a part of the URL.
        yield "cannot be read: a [ or ] or another special character is not percent-encoded"


def _split(rest: str) -> tuple[str, str, str, str]:
    parts = re.fullmatch(r"([^/?#]*)([^?#]*)(\?[^#]*)?(#.*)?", rest, re.DOTALL)
    assert parts is not None  # noqa: S101 - it fits any text
    return parts[1], parts[2], parts[3] or "", parts[4] or ""


def _bad_options(query: str) -> Iterator[str]:
    for option in query.split("&") if query else ():
        name, equals, value = option.partition("=")
        if not equals or not name:
            yield (
                "has an option after the ? that is not percent-encoded, or not written as "
                "name=value"
            )
        if not hosts.is_text(value):
            yield "has an option that does not decode to UTF-8 text; write a % as %25"
        if name in CREDENTIALS and "+" in value:
            yield "has a + in the options user or password, which means a space; write a + as %2B"


def _bad_address(location: str, scheme: str) -> Iterator[str]:
    url = _split_url(location)
    if services.is_service(location):
        yield from services.mistakes(location)
        return
    if clusters.is_cluster(location):
        yield from clusters.mistakes(location)
        return
    if scheme == "unix":
        if url.netloc.rpartition("@")[2]:
            yield "has a host in place of a path: write three slashes, as in unix:///run/redis.sock"
        if not url.path:
            yield "has no path"
        return
    if _is_bare_ipv6(url.netloc.rpartition("@")[2]):
        yield "has an IPv6 address without brackets: write it as in redis://[::1]:6379/0"
    try:
        url.port  # noqa: B018 - raises if it is not a port
    except ValueError:
        yield "has a port that is not a number up to 65535"
    if not url.hostname:
        yield "has no host"
    elif not hosts.can_be_host(url.hostname):
        yield "has a host that is not a valid name"
    database = url.path.strip("/")
    if database and not database.isdecimal():
        yield "has a database that is not a number"


def _is_bare_ipv6(address: str) -> bool:
    """Whether ``address`` is an IPv6 address without brackets, perhaps with a port."""
    for host in (address, address.rpartition(":")[0]):
        try:
            if ip_address(host).version == 6:
                return True
        except ValueError:
            continue
    return False
