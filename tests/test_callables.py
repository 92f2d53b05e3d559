"""Settings that name a function of the site."""

import pytest

from sessions_redis.callables import named, problem


def own(user):
    return user


async def slow(user):
    return user


NOT_A_FUNCTION = 5

WRONG = [
    ("own", "is not the path of a function"),
    ("tests.test_callables:own", "is not the path of a function"),
    ("tests.nowhere.own", "cannot be imported"),
    ("tests.test_callables.missing", "cannot be imported"),
    ("tests.test_callables.NOT_A_FUNCTION", "is int, not a function"),
    ("tests.test_callables.slow", "is asynchronous"),
    ("os.getcwd", "cannot be called with (user)"),
]


@pytest.mark.parametrize(("path", "reason"), WRONG)
def test_a_path_with_a_mistake(path, reason):
    """The mistake is named, and the hint says how the function is called."""
    found, hint = problem(path, "user")
    assert reason in found
    assert "(user)" in hint


@pytest.mark.parametrize("path", ["tests.test_callables.own", "builtins.max"])
def test_a_path(path):
    """A function that can be called with these arguments is found. It is not called."""
    assert problem(path, "user") is None


def test_named():
    """The function itself."""
    assert named("tests.test_callables.own") is own
