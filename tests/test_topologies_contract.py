"""
Django's contract of a session engine, on each kind of server.

With TOPOLOGIES=all in the environment, all of it. Without, what depends on the server.
"""

import os

import pytest

from sessions_redis.engine import SessionStore
from tests.contract import EndContract, EngineContract, KeyContract, StorageContract
from tests.topologies import delete_all, on, prefix, session_redis, topologies  # noqa: F401

pytestmark = pytest.mark.topology

# tests/test_engine.py has it in memory.
server = on("tls", "sentinel", "slot", "cluster", with_all=("cluster-tag",))


class ServerContract(StorageContract, EndContract, KeyContract):
    """Without the tests that try many values, which no server treats differently."""

    test_an_unknown_key_is_dropped = None
    test_an_unknown_key_is_never_adopted = None


class TestTopologies(EngineContract if os.environ.get("TOPOLOGIES") == "all" else ServerContract):
    engine = SessionStore
