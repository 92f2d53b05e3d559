"""
The function that returns the key prefix of the current tenant, if ``KEY_PREFIX`` names one.

It is called when a session store first needs it. The store then keeps the prefix, so that a session
stays in the keys of its tenant. Everything else, such as a function of the registry, calls it once
for each call.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from inspect import iscoroutinefunction, signature
from typing import Any, Protocol

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

# A prefix such as "shop:user:1". Another site or tenant with the prefix "shop" has indexes under
# the same names.
INSIDE_INDEX_NAMES = re.compile(r"(.+?):(user|index)(:|$)", re.DOTALL)

HINT = (
    "Write the path of a function without arguments that returns the prefix of the current tenant, "
    'such as "shop.tenants.key_prefix". Text that consists of Python names and dots is always such '
    'a path. To use it as the prefix itself, write "KEY_PREFIX": lambda: {text!r}.'
)

# Other ways to write the path of a function, by mistake: "shop.tenants:key_prefix", and with "()".
ALMOST_A_PATH = re.compile(r"\s*([\w.]+\.\w+|[\w.]+:\w+)\s*(\(\))?\s*")

# Set while `sessions_redis.tenants.using` chooses the tenant.
chosen: ContextVar[str | None] = ContextVar("chosen", default=None)


class Store(Protocol):
    """A session store. It keeps the prefix of the tenant in which it was first used."""

    _kept_prefix: str | None


class Tenants:
    """The site's function that returns the prefix of the current tenant."""

    def __init__(self, function: Callable[[], Any], name: str) -> None:
        self._function = function
        self.name = name

    def __str__(self) -> str:
        return f'The function of SESSION_REDIS["KEY_PREFIX"], {self.name},'

    def current(self) -> str:
        """
        The prefix of the current tenant.

        Raises ``ImproperlyConfigured`` if the function returns anything else than a prefix. What
        the function raises passes through, except for two errors, see below.
        """
        prefix = chosen.get()
        if prefix is None:
            prefix = self._asked()
            require_prefix(prefix, f"{self} returned")
        return prefix

    def of(self, store: Store) -> str:
        """The prefix that ``store`` keeps: that of the tenant in which it was first used."""
        kept = store._kept_prefix
        if kept is None:
            # If two tasks first use it at the same moment, both get the same.
            kept = vars(store).setdefault("_kept_prefix", self.current())
        return kept

    def _asked(self) -> Any:
        try:
            return self._function()
        except (AttributeError, KeyError) as error:
            # Code around a session, such as a template, would take these for a missing entry.
            raise ImproperlyConfigured(f"{self} raised {error!r}.") from error
        except Exception as error:  # the site's function can raise any error, and it passes through
            note = f"{self} raised this."
            if note not in getattr(error, "__notes__", ()):
                error.add_note(note)
            raise


def tenants_of(setting: Any) -> Tenants | None:
    """What the ``KEY_PREFIX`` of a setting without mistakes names; ``None`` if it is a prefix."""
    if callable(setting):
        return Tenants(setting, _name_of(setting))
    return Tenants(import_string(setting), setting) if is_path(setting) else None


def is_path(setting: str) -> bool:
    """Whether this is the path of a function, and not a prefix: Python names joined by dots."""
    return "." in setting and all(map(str.isidentifier, setting.split(".")))


def problem(setting: str | Callable[..., Any]) -> tuple[str, str] | None:
    """
    What is wrong with ``KEY_PREFIX``, and a hint. The function is imported, and not called.

    A mistake in a path is never taken for a prefix, because all tenants would share that prefix.
    """
    if isinstance(setting, str):
        if not is_path(setting):
            return _problem_of_prefix(setting)
        name, hint = repr(setting), HINT.format(text=setting)
        try:
            function = import_string(setting)
        except ImportError as error:
            return f"is {name}, which cannot be imported: {error}", hint
        if not callable(function):
            return f"is {name}, which is {type(function).__name__}, not a function", hint
    else:
        function, name = setting, f"the function {_name_of(setting)}"
    reason = _why_it_cannot_be_called(function)
    hint = "It must be a plain function that can be called without arguments."
    return (f"is {name}, which {reason}", hint) if reason else None


def require_prefix(prefix: Any, start: str) -> None:
    """Raise ``ImproperlyConfigured`` if this cannot be the prefix of a tenant."""
    if not isinstance(prefix, str) or not prefix:
        raise ImproperlyConfigured(
            f"{start} {prefix!r}, which is not the prefix of a tenant: a string that is not empty."
        )
    if ":" in prefix and INSIDE_INDEX_NAMES.match(prefix):
        raise ImproperlyConfigured(
            f"{start} {prefix!r}. The indexes of another tenant can have names that start like "
            'this. Return a prefix that has neither "user" nor "index" after a colon.'
        )


def _problem_of_prefix(setting: str) -> tuple[str, str] | None:
    if not setting:
        hint = 'Write the start of the names of this site\'s keys, such as "session".'
        return "is empty", hint
    meant = ALMOST_A_PATH.fullmatch(setting)
    path = meant[1].replace(":", ".") if meant else ""
    if not is_path(path):
        return None
    try:
        is_function = callable(import_string(path))
    except ImportError:
        return None
    return (f"is {setting!r}, but there is a function", f"Write {path!r}.") if is_function else None


def _why_it_cannot_be_called(function: Any) -> str | None:
    if iscoroutinefunction(function):
        return "is asynchronous, but synchronous code calls it as well"
    with suppress(ValueError):  # some functions that are written in C do not say what they take
        try:
            signature(function).bind()
        except TypeError as error:
            return f"cannot be called without arguments: {error}"
    return None


def _name_of(function: Any) -> str:
    return f"{function.__module__}.{getattr(function, '__qualname__', type(function).__name__)}"
