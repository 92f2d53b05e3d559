"""Entries that are updated by compare-and-set, with encryption."""

import pytest

from sessions_redis.engine import SessionStore
from tests.test_sealing import encrypted, held, loaded, plain, saved, turn_on  # noqa: F401


@pytest.mark.parametrize("name", [f"cart-{number}" for number in range(8)])
def test_requests_append(plain, name):  # noqa: F811 - fixture
    """Requests append to an entry that was not encrypted yet. None loses what it appended."""
    key = plain(**{name: ["pears"], "color": "red"})
    one, other, third = loaded(key), loaded(key), loaded(key)
    one.append(name, "plums")
    assert other.append(name, "figs") == ["pears", "plums", "figs"]
    third.update_entry(name, lambda cart: [*cart, "nuts"])
    assert held(key) == {name: ["pears", "plums", "figs", "nuts"], "color": "red"}


def test_another_request_begins_the_salt(plain):  # noqa: F811
    """As above, if the other request changed another entry."""
    key = plain(cart=["pears"], color="red")
    one, other = loaded(key), loaded(key)
    one["color"] = "blue"
    one.save()
    assert other.append("cart", "figs") == ["pears", "figs"]
    assert held(key) == {"cart": ["pears", "figs"], "color": "blue"}


def test_another_salt_by_now():
    """Another request replaced all entries meanwhile, with a new salt."""
    key = saved(cart=["pears"]).session_key
    one, other = loaded(key), SessionStore(key)
    other.clear()
    other["cart"] = ["plums"]
    other.save()
    assert one.append("cart", "figs") == ["plums", "figs"]
    assert held(key) == {"cart": ["plums", "figs"]}
