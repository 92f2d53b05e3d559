"""
The mistakes that a value for ``SESSION_REDIS`` can have. Redis is not asked to find them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from difflib import get_close_matches
from ipaddress import ip_network
from math import inf, isfinite
from typing import Any, TypeGuard

from sessions_redis import callables, key_prefixes, locations, next_engines, site_keys, user_agents
from sessions_redis.storage.rules import END_OLDEST, REFUSE

# In TRUSTED_PROXIES, this is a proxy that connects through a unix socket and so has no address.
UNIX = "unix"

# A page of a list asks each shard, so there must not be too many.
MAX_INDEX_SHARDS = 256

# A write looks at the sessions of the user, so they must not be too many.
MOST_SESSIONS = 1000

# The settings, the types that their values may have, and a description of each type for messages.
TYPES: dict[str, tuple[type | tuple[type, ...], str]] = {
    "LOCATION": (str, "a URL"),
    "KEY_PREFIX": (str, "a string or a function"),
    "OPTIONS": (Mapping, "a dictionary"),
    "INDEX": (bool, "True or False"),
    "METADATA": (bool, "True or False"),
    "TRUSTED_PROXIES": ((list, tuple), "a list of networks"),
    "ACTIVITY_INTERVAL": ((int, float), "a number of seconds, such as 60"),
    "BIND_TO": ((list, tuple), 'a list of "device" or "network", or of both'),
    "BIND_TO_ENDS": (bool, "True or False"),
    "MASKED_NAMES": ((list, tuple), "a list of names"),
    "UNMASKED_NAMES": ((list, tuple), "a list of names"),
    "WAIT_REPLICAS": (int, "a number of replicas, such as 1, or 0 for none"),
    "INDEX_SHARDS": (int, f"a number from 1 to {MAX_INDEX_SHARDS}"),
    "INSTRUMENTED": ((bool, type(None)), "True, False or None"),
    "FORMER_ENGINE": (str, "the path of an engine, as in SESSION_ENGINE"),
    "FORMER_ENGINE_SHARED": (bool, "True or False"),
    "FORMER_ENGINE_PARTIAL": (bool, "True or False"),
    "NEXT_ENGINE": (str, "the path of an engine, as in SESSION_ENGINE"),
    "MAX_SESSIONS_PER_USER": (
        (int, str, type(None)),
        f"a number from 1 to {MOST_SESSIONS:,}, the path of a function, or None",
    ),
    "MAX_SESSIONS_POLICY": (str, f'"{END_OLDEST}" or "{REFUSE}"'),
    "EVENTS": (bool, "True or False"),
    "ENCRYPTION_KEYS": ((list, tuple), "a list of keys"),
    "ENCRYPTION_PLAINTEXT_UNTIL": ((str, date, type(None)), 'a date such as "2027-01-31", or None'),
    "MAX_SESSION_BYTES": ((int, type(None)), "a number of bytes, such as 100_000, or None"),
    "END_ON_DEACTIVATION": (bool, "True or False"),
    "END_ON_PASSWORD_CHANGE": (bool, "True or False"),
    "ABSOLUTE_AGE": (
        (int, float, timedelta, str, type(None)),
        "a number of seconds, the path of a function, or None for no limit",
    ),
    "TOUCH_INTERVAL": ((int, float), "a number of seconds, such as 60, or 0 to send every save"),
}

# The settings of django-redis-sessions, and what replaces them here. Several of them together
# become one URL: their replacement is a part of it.
_DJANGO_REDIS_SESSIONS = {
    "host": "<host>",
    "port": "<port>",
    "db": "<db>",
    "password": ":<password>@",
    "url": '"LOCATION": "<url>"',
    "unix_domain_socket_path": '"LOCATION": "unix://<path>"',
    "prefix": '"KEY_PREFIX": "<prefix>"',
    "socket_timeout": '"OPTIONS": {"socket_timeout": <seconds>}',
    "retry_on_timeout": "nothing: lost commands are sent again by default",
}
_URL_PARTS = {"password": "", "host": "localhost", "port": "6379", "db": "0"}


@dataclass(frozen=True, slots=True)
class Problem:
    """A mistake in the setting. ``id``: the ID of the system check that reports it."""

    id: str
    message: str
    hint: str

    def __str__(self) -> str:
        return f"{self.message} {self.hint}"


def problems(setting: Any) -> Iterator[Problem]:
    """The mistakes in ``setting``, a value for ``SESSION_REDIS``, found without asking Redis."""
    if not isinstance(setting, Mapping):
        yield Problem(
            "sessions_redis.E001",
            "SESSION_REDIS is not set."
            if setting is None
            else "SESSION_REDIS is not a dictionary.",
            'Write SESSION_REDIS = {"LOCATION": "redis://127.0.0.1:6379/0"} in your settings.',
        )
        return
    of_former = _names_of_former_engine(setting)
    old = [name for name in setting if name in _DJANGO_REDIS_SESSIONS and name not in of_former]
    if old:
        yield _django_redis_sessions_problem(old)
    for name, value in setting.items():
        if name not in old and name not in of_former:
            yield from _problems_of(name, value)
    yield from _binding_problems(setting)
    yield from _problems_without_index(setting)
    if "LOCATION" not in setting and not old:
        yield Problem(
            "sessions_redis.E003",
            'SESSION_REDIS has no "LOCATION".',
            'Write the URL of Redis: "LOCATION": "redis://127.0.0.1:6379/0".',
        )
    if setting.get("MAX_SESSIONS_PER_USER") is not None and setting.get("INDEX") is False:
        yield Problem(
            "sessions_redis.E035",
            'SESSION_REDIS["MAX_SESSIONS_PER_USER"] is set, but INDEX is False. The engine counts '
            "the sessions of a user in the indexes, which it does not keep.",
            'Leave "INDEX" out, or leave "MAX_SESSIONS_PER_USER" out.',
        )


def _problems_without_index(setting: Mapping[Any, Any]) -> Iterator[Problem]:
    for name in ("END_ON_DEACTIVATION", "END_ON_PASSWORD_CHANGE"):
        if setting.get(name) is True and setting.get("INDEX") is False:
            yield Problem(
                "sessions_redis.E004",
                f'SESSION_REDIS["{name}"] is True, but "INDEX" is False: without the indexes, the '
                "sessions of a user cannot be found.",
                f'Set "INDEX" to True, or leave "{name}" out.',
            )


def _names_of_former_engine(setting: Mapping[Any, Any]) -> set[str]:
    """
    The names that are for the former engine: django-redis-sessions reads the same setting.

    It needs them for as long as its sessions move in.
    """
    former = setting.get("FORMER_ENGINE")
    if not isinstance(former, str) or not former.startswith("redis_sessions."):
        return set()
    return {*_DJANGO_REDIS_SESSIONS, "POOL"}


def _django_redis_sessions_problem(old: list[str]) -> Problem:
    in_url = [name for name in old if name in _URL_PARTS]
    becomes = [
        f"{name!r} becomes {_DJANGO_REDIS_SESSIONS[name]}" for name in old if name not in in_url
    ]
    if in_url:
        part = _URL_PARTS | {name: _DJANGO_REDIS_SESSIONS[name] for name in in_url}
        url = f"redis://{part['password']}{part['host']}:{part['port']}/{part['db']}"
        verb = "becomes" if len(in_url) == 1 else "together become"
        becomes.insert(0, f'{", ".join(map(repr, in_url))} {verb} "LOCATION": "{url}"')
    return Problem(
        "sessions_redis.E006",
        f"SESSION_REDIS has settings of django-redis-sessions: {', '.join(map(repr, old))}.",
        f"Replace them: {'; '.join(becomes)}.",
    )


def _problems_of(name: Any, value: Any) -> Iterator[Problem]:
    if name not in TYPES:
        close = get_close_matches(str(name).upper(), TYPES, n=1, cutoff=0.5)
        yield Problem(
            "sessions_redis.E002",
            f"SESSION_REDIS has no setting {name!r}.",
            f'Did you mean "{close[0]}"?' if close else f"The settings are {', '.join(TYPES)}.",
        )
    elif not _has_type_of(name, value):
        yield Problem(
            "sessions_redis.E003" if name == "LOCATION" else "sessions_redis.E004",
            f'SESSION_REDIS["{name}"] is {type(value).__name__}, not {TYPES[name][1]}.',
            f"Write {TYPES[name][1]}.",
        )
    elif name == "LOCATION":
        yield from _location_problems(value)
    elif name == "KEY_PREFIX":
        yield from _prefix_problems(value)
    elif name == "TRUSTED_PROXIES":
        yield from _network_problems(value)
    elif name == "WAIT_REPLICAS" and value < 0:
        yield Problem(
            "sessions_redis.E004",
            f'SESSION_REDIS["WAIT_REPLICAS"] is {value}, which is less than 0.',
            f"Write {TYPES[name][1]}.",
        )
    elif name == "INDEX_SHARDS" and not 1 <= value <= MAX_INDEX_SHARDS:
        yield Problem(
            "sessions_redis.E004",
            f'SESSION_REDIS["INDEX_SHARDS"] is {value}, not {TYPES[name][1]}.',
            "Write 1, or 16 for a Cluster with more than a million sessions.",
        )
    elif name in {"MASKED_NAMES", "UNMASKED_NAMES"}:
        yield from _name_problems(name, value)
    elif name in _PROBLEMS:
        yield from _PROBLEMS[name](value)
    elif name == "OPTIONS" and value.get("decode_responses"):
        yield Problem(
            "sessions_redis.E004",
            'SESSION_REDIS["OPTIONS"] sets decode_responses, but sessions are read as bytes.',
            "Leave decode_responses out.",
        )


def _has_type_of(name: str, value: Any) -> bool:
    kind = TYPES[name][0]
    if name == "KEY_PREFIX" and callable(value):
        return True
    # For Python, True and False are numbers.
    are_meant = kind is bool or (isinstance(kind, tuple) and bool in kind)
    return isinstance(value, kind) and (are_meant or not isinstance(value, bool))


def _prefix_problems(prefix: Any) -> Iterator[Problem]:
    found = key_prefixes.problem(prefix)
    if found:
        reason, hint = found
        yield Problem("sessions_redis.E004", f'SESSION_REDIS["KEY_PREFIX"] {reason}.', hint)


def _network_problems(networks: Sequence[Any]) -> Iterator[Problem]:
    for network in networks:
        try:
            if network != UNIX:
                # ip_network() also accepts numbers and bytes, but only text is allowed here.
                ip_network(network if isinstance(network, str) else repr(network))
        except ValueError as error:
            yield Problem(
                "sessions_redis.E004",
                f'SESSION_REDIS["TRUSTED_PROXIES"] has {network!r}: {error}.',
                f'Write addresses or networks, such as "10.0.0.0/8", or "{UNIX}".',
            )


def _name_problems(setting: str, names: Sequence[Any]) -> Iterator[Problem]:
    for name in names:
        if not isinstance(name, str) or not any(map(str.isalnum, name)):
            reason = "has no letter or digit" if isinstance(name, str) else "is not a string"
            yield Problem(
                "sessions_redis.E004",
                f'SESSION_REDIS["{setting}"] has {name!r}, which {reason}.',
                'Write names of entries, such as "iban" or "customer_number".',
            )


def _next_engine_problems(path: str) -> Iterator[Problem]:
    found = next_engines.problem_of_path(path)
    if found:
        reason, hint = found
        yield Problem("sessions_redis.E004", f'SESSION_REDIS["NEXT_ENGINE"] {reason}.', hint)


def _place_problems(names: Sequence[Any]) -> Iterator[Problem]:
    for name in names:
        if name not in ("device", "network"):
            yield Problem(
                "sessions_redis.E004",
                f'SESSION_REDIS["BIND_TO"] has {name!r}.',
                f"Write {TYPES['BIND_TO'][1]}.",
            )


def _binding_problems(setting: Mapping[Any, Any]) -> Iterator[Problem]:
    """Without these, sessions would not be bound, and nobody would notice."""
    names = setting.get("BIND_TO")
    if not names or not isinstance(names, list | tuple):
        return
    if setting.get("METADATA") is False:
        yield Problem(
            "sessions_redis.E038",
            'SESSION_REDIS["BIND_TO"] needs the address and user agent of sessions, and METADATA '
            "is False.",
            "Set METADATA to True, or leave BIND_TO out.",
        )
    if "device" in names and user_agents.parser() is None:
        yield Problem(
            "sessions_redis.E038",
            'SESSION_REDIS["BIND_TO"] has "device", but ua-parser, which recognizes devices, is '
            "not installed.",
            'Install django-sessions-redis[devices], or leave out "device".',
        )


def _interval_problems(seconds: float) -> Iterator[Problem]:
    if not 0 < seconds < inf:
        yield Problem(
            "sessions_redis.E004",
            f'SESSION_REDIS["ACTIVITY_INTERVAL"] is {seconds}, not a number above 0.',
            f"Write {TYPES['ACTIVITY_INTERVAL'][1]}.",
        )


def _key_problems(keys: Sequence[Any]) -> Iterator[Problem]:
    for number, key in enumerate(keys, 1):
        reason = site_keys.problem(key)
        if reason:
            # The message does not repeat the key.
            yield Problem(
                "sessions_redis.E004",
                f'Key {number} in SESSION_REDIS["ENCRYPTION_KEYS"] {reason}.',
                'Make a key with: python -c "import secrets; print(secrets.token_urlsafe(32))"',
            )


def _day_problems(day: Any) -> Iterator[Problem]:
    try:
        site_keys.day_of(day)
    except ValueError as error:
        yield Problem(
            "sessions_redis.E004",
            f'SESSION_REDIS["ENCRYPTION_PLAINTEXT_UNTIL"] is {day!r}: {error}.',
            'Write the last day as "2027-01-31".',
        )


def _bytes_problems(limit: int | None) -> Iterator[Problem]:
    if limit is not None and limit <= 0:
        yield Problem(
            "sessions_redis.E004",
            f'SESSION_REDIS["MAX_SESSION_BYTES"] is {limit}, so no session could be saved.',
            f"Write {TYPES['MAX_SESSION_BYTES'][1]}.",
        )


def _location_problems(location: str) -> Iterator[Problem]:
    found = locations.problem(location)
    if found:
        # The message does not repeat the URL, which may contain a password.
        reason, hint = found
        yield Problem("sessions_redis.E003", f'SESSION_REDIS["LOCATION"] {reason}.', hint)


def _cap_problems(cap: int | str | None) -> Iterator[Problem]:
    if isinstance(cap, str):
        found = callables.problem(cap, "user")
    elif cap is None or is_cap(cap):
        return
    else:
        found = f"is {cap!r}", f"Write {TYPES['MAX_SESSIONS_PER_USER'][1]}."
    if found:
        reason, hint = found
        yield Problem(
            "sessions_redis.E004", f'SESSION_REDIS["MAX_SESSIONS_PER_USER"] {reason}.', hint
        )


def is_cap(cap: object) -> TypeGuard[int]:
    """Whether ``MAX_SESSIONS_PER_USER`` may be this number."""
    return isinstance(cap, int) and not isinstance(cap, bool) and 1 <= cap <= MOST_SESSIONS


def _policy_problems(policy: str) -> Iterator[Problem]:
    if policy not in (END_OLDEST, REFUSE):
        yield Problem(
            "sessions_redis.E004",
            f'SESSION_REDIS["MAX_SESSIONS_POLICY"] is {policy!r}.',
            f"Write {TYPES['MAX_SESSIONS_POLICY'][1]}.",
        )


def is_age(age: Any) -> bool:
    """Whether this says how long a session may live at most."""
    if isinstance(age, timedelta):
        age = age.total_seconds()
    is_number = isinstance(age, int | float) and not isinstance(age, bool)
    return age is None or (is_number and isfinite(age) and age > 0)


def _absolute_age_problems(age: Any) -> Iterator[Problem]:
    if isinstance(age, str):
        found = callables.problem(age, "user")
        if found:
            reason, hint = found
            yield Problem("sessions_redis.E004", f'SESSION_REDIS["ABSOLUTE_AGE"] {reason}.', hint)
    elif not is_age(age):
        yield Problem(
            "sessions_redis.E004",
            f'SESSION_REDIS["ABSOLUTE_AGE"] is {age!r}, not a number of seconds above 0.',
            f"Write {TYPES['ABSOLUTE_AGE'][1]}.",
        )


def _touch_interval_problems(seconds: float) -> Iterator[Problem]:
    if not 0 <= seconds < inf:
        yield Problem(
            "sessions_redis.E004",
            f'SESSION_REDIS["TOUCH_INTERVAL"] is {seconds!r}, not a number from 0 on.',
            f"Write {TYPES['TOUCH_INTERVAL'][1]}.",
        )


_PROBLEMS: dict[str, Callable[[Any], Iterator[Problem]]] = {
    "ABSOLUTE_AGE": _absolute_age_problems,
    "ACTIVITY_INTERVAL": _interval_problems,
    "BIND_TO": _place_problems,
    "ENCRYPTION_KEYS": _key_problems,
    "ENCRYPTION_PLAINTEXT_UNTIL": _day_problems,
    "MAX_SESSIONS_PER_USER": _cap_problems,
    "MAX_SESSIONS_POLICY": _policy_problems,
    "MAX_SESSION_BYTES": _bytes_problems,
    "NEXT_ENGINE": _next_engine_problems,
    "TOUCH_INTERVAL": _touch_interval_problems,
}
