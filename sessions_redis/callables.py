"""Settings that name a function of the site by its path, such as ``"shop.sessions.lifetime"``."""

from collections.abc import Callable
from functools import cache
from inspect import iscoroutinefunction, signature
from typing import Any

from django.utils.module_loading import import_string


@cache
def named(path: str) -> Callable[..., Any]:
    """The function with this path, which `problem` has found in order."""
    function: Callable[..., Any] = import_string(path)
    return function


def problem(path: str, *arguments: str) -> tuple[str, str] | None:
    """
    What is wrong with the path of a function that takes ``arguments``, and a hint.

    The function is imported, and not called.
    """
    listed = ", ".join(arguments)
    hint = (
        f"Write the path of a function that can be called with ({listed}), such as "
        '"shop.sessions.rule".'
    )
    if "." not in path or not all(map(str.isidentifier, path.split("."))):
        return f"is {path!r}, which is not the path of a function", hint
    try:
        function = import_string(path)
    except ImportError as error:
        return f"is {path!r}, which cannot be imported: {error}", hint
    reason = _why_it_cannot_be_called(function, arguments)
    return (f"is {path!r}, which {reason}", hint) if reason else None


def _why_it_cannot_be_called(function: Any, arguments: tuple[str, ...]) -> str | None:
    if not callable(function):
        return f"is {type(function).__name__}, not a function"
    if iscoroutinefunction(function):
        return "is asynchronous, but synchronous code calls it as well"
    try:
        signature(function).bind(*arguments)
    except TypeError as error:
        return f"cannot be called with ({', '.join(arguments)}): {error}"
    except ValueError:  # some functions that are written in C do not say what they take
        return None
    return None
