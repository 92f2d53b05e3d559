"""Servers on which entries can have lifetimes of their own, for tests of such entries."""

import pytest
from django.http import HttpResponse
from django.urls import path

from sessions_redis import conf
from sessions_redis.engine import SessionStore
from sessions_redis.storage.commands import session_id
from sessions_redis.storage.expiring import names_in
from tests.servers import wait_until
from tests.topologies import Topology


class One(Topology):
    """The server that the whole suite shares."""

    def __init__(self, server):
        super().__init__(server.url)
        self.url = server.url


def lets_fields_expire(server):
    """Whether the server of the suite is new enough: Redis 7.4, or Valkey 9."""
    script = "return redis.pcall('HPTTL', KEYS[1], 'FIELDS', 1, 'field').err and 0 or 1"
    with server.client() as client:
        return client.eval(script, 1, "missing") == 1


def skip_if_too_old(server):
    return lets_fields_expire(server) or pytest.skip("on the server of the suite, no field expires")


def capable(*kinds):
    """
    The fixture ``server``: these topologies, and "one" for the server of the suite.

    An older server is replaced by the memory of the process, where entries can expire.
    """

    @pytest.fixture(params=kinds, name="server")
    def server(request, server, topologies):
        kind = request.param if lets_fields_expire(server) else "memory"
        return One(server) if kind == "one" else topologies(kind)

    return server


def begun(**entries):
    """A saved session with these entries."""
    session = SessionStore()
    session.update(entries)
    session.save()
    return session


def again(session):
    """The session as another request finds it."""
    return SessionStore(session.session_key)


def name_of(session):
    return conf.current().keyspace.session(session_id(session.session_key))


class Hash:
    """The hash of a session in Redis."""

    def __init__(self, raw, session):
        self.raw = raw
        self.name = name_of(session)

    @property
    def fields(self):
        return self.raw.hgetall(self.name)

    def left(self, field):
        """Milliseconds that the field has left: -1 if it never expires, -2 if it is not there."""
        return self.raw.hpttl(self.name, field)[0]

    @property
    def names(self):
        """The names that ``@expiring`` has."""
        return {name.decode("utf-8", "surrogatepass") for name in names_in(self.fields)}

    def let_expire(self, field):
        """Let the time of the field be over."""
        self.raw.hpexpire(self.name, 1, field)
        # For a moment, Redis may say that it has expired, and still return it.
        name = field.encode()
        wait_until(lambda: self.left(field) == -2 and name not in self.fields, "the field expires")


# The views to which the example of the docs redirects.
urlpatterns = [path(name, HttpResponse, name=name) for name in ("enter_code", "home")]
