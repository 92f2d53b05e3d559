"""Errors whose causes form a circle are cleaned as others are."""

import pytest
import redis

from sessions_redis.clients.reports import without_credentials, without_tracebacks

REFUSED = "ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'ada' 'pa55w0rd'"


@pytest.fixture
def circle():
    """Two errors, each of which is a cause of the other, as some libraries make them."""
    first, second = redis.ConnectionError(REFUSED), redis.ResponseError(REFUSED)
    first.__cause__, second.__context__ = second, first
    return first, second


def test_credentials_in_a_circle(circle):
    """Each text is cleaned once."""
    assert without_credentials(circle[0]) is circle[0]
    assert [str(error) for error in circle] == ["ERR unknown command 'HELLO'"] * 2


def test_tracebacks_in_a_circle(circle):
    assert without_tracebacks(circle[0]) is circle[0]
    assert [error.__traceback__ for error in circle] == [None, None]
