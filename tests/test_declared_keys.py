"""
Which scripts use only the keys that they declare: docs/hosted.md has the list.

Some hosted servers refuse all other keys. Here, Redis does so, for a user who may only use the
keys of one command.
"""

from itertools import count

import pytest
from redis.exceptions import NoPermissionError

from sessions_redis.storage import commands, listings
from sessions_redis.storage.changes import Changes
from sessions_redis.storage.keyspaces import Keyspace
from tests.servers import Server

SAVED = Changes({b"color": b'"red"'})
LOGIN = Changes({b"_auth_user_id": b'"1"'}, user="1")
NUMBERS = count(1)


class Strict:
    """A server, and a user of it who may use no key but those that a command declares."""

    def __init__(self, server):
        self.client = server.client()
        self.strict = server.client(username="strict", password="countess")

    def close(self):
        self.client.close()
        self.strict.close()

    def run(self, command):
        return command.read(self.client.execute_command(*command.with_source))

    def takes(self, command):
        """Whether the command uses only keys that it declares."""
        words = command.with_source
        keys = words[3 : 3 + words[2]] if words[0] == "EVAL" else words[1:2]
        rules = ["reset", "on", ">countess", "+@all", "&*", *(f"~{key}" for key in keys)]
        self.client.execute_command("ACL", "SETUSER", "strict", *rules)
        try:
            self.strict.execute_command(*words)
        except NoPermissionError:
            return False
        return True


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("strict"))
    strict = Strict(server)
    yield strict
    strict.close()
    server.stop()


def new_id():
    return f"{next(NUMBERS):032x}"


def session(strict, keyspace):
    """The ID of a session of somebody who has signed in."""
    id = new_id()
    assert strict.run(commands.create(keyspace, id, 600, LOGIN))
    return id


# Commands that declare all their keys, whether indexes are kept or not.
ALWAYS = {
    "load": commands.load,
    "exists": commands.exists,
    "increment": lambda key, id: commands.increment(key, id, b"visits", 1),
    "increment with rules": lambda key, id: commands.increment(
        key, id, b"visits", 1, {"bytes": 100}
    ),
    "lock": lambda key, id: commands.lock(key, id, "token", 1000),
    "unlock": lambda key, id: commands.unlock(key, id, "token"),
    "inspect": commands.inspect,
}
# Commands that do so if no indexes are kept.
WITHOUT_INDEXES = {
    "create": lambda key, id: commands.create(key, new_id(), 600, LOGIN),
    "save": lambda key, id: commands.save(key, id, 600, SAVED),
    "sign out": lambda key, id: commands.save(key, id, 600, Changes(user="")),
    "expire": lambda key, id: commands.save(key, id, 0, SAVED),
    "cycle": lambda key, id: commands.cycle(key, id, new_id(), 600, SAVED),
    "delete": commands.delete,
    "note": commands.note,
}
# Commands that never do.
NEVER = {
    "create beside": lambda key, id: commands.create_beside(key, id, b"1", new_id(), 600, LOGIN),
    "end many": lambda key, id: listings.end_many(key, [id]),
}
# Commands that need indexes, and do, or do not.
OF_INDEXES = {
    "page": lambda key, id: listings.page(key, key.index, start=0, stop=9),
    "count": lambda key, id: listings.count([key.index], [0, 600]),
    "trim": lambda key, id: listings.trim(key.index),
}
OF_INDEXES_AND_SESSIONS = {
    "end all": lambda key, id: listings.end_all(key, "1"),
    "list many": lambda key, id: listings.list_many(key, [id]),
    "drop": lambda key, id: listings.drop(key, [key.index], [id]),
}
COMMANDS = ALWAYS | WITHOUT_INDEXES | NEVER | OF_INDEXES | OF_INDEXES_AND_SESSIONS


@pytest.mark.parametrize("name", COMMANDS)
def test_with_indexes(strict, prefix, name):
    """With indexes, a command that writes a session uses keys whose names depend on its user."""
    keyspace = Keyspace(prefix)
    takes = strict.takes(COMMANDS[name](keyspace, session(strict, keyspace)))
    assert takes is (name in ALWAYS | OF_INDEXES)


@pytest.mark.parametrize("name", ALWAYS | WITHOUT_INDEXES | NEVER)
def test_without_indexes(strict, prefix, name):
    """Without indexes, the commands for one session declare all their keys."""
    keyspace = Keyspace(prefix, indexed=False)
    takes = strict.takes(COMMANDS[name](keyspace, session(strict, keyspace)))
    assert takes is (name not in NEVER)


@pytest.mark.parametrize("name", ["expire", "delete"])
def test_events(strict, prefix, name):
    """The channel on which ends are published is not a key."""
    keyspace = Keyspace(prefix, indexed=False, events=True)
    assert strict.takes(COMMANDS[name](keyspace, session(strict, keyspace)))
