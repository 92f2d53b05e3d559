"""
How changes are sealed for the session that they are written to. Pure.

Values are sealed with the salt of the session. Only the server knows for certain which one that is:
two requests may give a session its first salt at the same time. So a save asks the server, in the
step that writes, whether the session still has the salt that this request knows.
"""

from collections.abc import Iterator, Mapping

from sessions_redis.storage import replies, scripts
from sessions_redis.storage.changes import Changes, Known
from sessions_redis.storage.entries import SALT, SealingSerializer, is_metadata, opened
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.rules import EXPECTS, LACKS, Refused
from sessions_redis.storage.steps import Argument, Command, script_command

_NAME = SALT.decode()
EXPECTS_SALT, LACKS_SALT = EXPECTS + _NAME, LACKS + _NAME


def sealed(
    changes: Changes, serializer: SealingSerializer, salt: bytes, new_salt: bytes
) -> Changes:
    """
    The changes as to write them to a session with this ``salt``, ``b""`` if it has none yet.

    Then, and if they replace all of its entries, it gets the ``new_salt``.
    """
    written, rules = changes.written, changes.rules
    if not serializer.seals or all(map(is_metadata, written)):
        return changes
    if not changes.replaces:
        # First: what other rules say about an entry can only be read with the right salt.
        rules = {**_rule(salt), **rules}
    is_new = changes.replaces or not salt
    salt = new_salt if is_new else salt
    values = {
        name: value if is_metadata(name) else serializer.seal(value, salt, name)
        for name, value in written.items()
    }
    return changes._replace(written={**values, SALT: salt} if is_new else values, rules=rules)


def _rule(salt: bytes) -> Mapping[str, Argument]:
    return {EXPECTS_SALT: salt} if salt else {LACKS_SALT: ""}


def other_salt(answer: object) -> bytes | None:
    """The session's salt, ``b""`` if none, if a write was refused because it is another one."""
    if isinstance(answer, Refused) and answer.rule in {EXPECTS_SALT, LACKS_SALT}:
        return answer.value or b""
    return None


def resealed(known: Known, serializer: SealingSerializer, salt: bytes) -> Known:
    """The fields as if the session had had this ``salt`` when they were loaded."""
    fields = dict(known.fields)
    for name in known.fields:
        if not is_metadata(name) and (value := opened(serializer, known.fields, name)) is not None:
            fields[name] = serializer.seal(value, salt, name)
    loaded = known.fields if known.loaded is None else known.loaded
    return known._replace(fields={**fields, SALT: salt}, loaded=loaded)


# Entries that one command writes: fewer than Lua takes at once.
MOST_ENTRIES = 500


def outdated(serializer: SealingSerializer, fields: Mapping[bytes, bytes]) -> list[bytes]:
    """The entries whose values are not stored as the serializer would store them now."""
    return [
        name
        for name, stored in fields.items()
        if not is_metadata(name) and not serializer.is_current(stored)
    ]


def reseal(
    keyspace: Keyspace,
    id: str,
    fields: Mapping[bytes, bytes],
    serializer: SealingSerializer,
    new_salt: bytes,
) -> Iterator[Command[int]]:
    """
    Store outdated values as the serializer stores them now, where they are still as in ``fields``.

    The commands are to be sent one after the other. Each answers how many entries it has written,
    or -1 if the session is gone or is changing: then the others write nothing either. Damaged
    values stay.
    """
    known = fields.get(SALT, b"")
    salt = known or (new_salt if serializer.seals else b"")
    values = {name: opened(serializer, fields, name) for name in outdated(serializer, fields)}
    triples = [
        (name, fields[name], serializer.seal(value, salt, name) if serializer.seals else value)
        for name, value in values.items()
        if value is not None
    ]
    for start in range(0, len(triples), MOST_ENTRIES):
        written = [part for triple in triples[start : start + MOST_ENTRIES] for part in triple]
        before = known if start == 0 else salt
        yield script_command(
            scripts.RESEAL, (keyspace.session(id),),
            (before, b"" if before == salt else salt, *written),
            lambda reply: replies.number(reply, -1),
        )  # fmt: skip
