"""What the server itself says, and how it stores sessions: what a site needs to know of both."""

from collections.abc import Iterator

from django.core import checks
from django.core.checks import CheckMessage, Error

from sessions_redis import conf
from sessions_redis.checks.versions import OLDEST, has_faults_in_lua, is_too_old
from sessions_redis.registry.inspection import Inspection
from sessions_redis.sizes import shown_size
from sessions_redis.storage.commands import WrongType
from sessions_redis.storage.samples import COMPACT
from sessions_redis.storage.servers import Identity, Memory, Refusal

# How many sessions the checks look at.
SAMPLE = 50

# How many keys a message names.
SHOWN = 3

# The limit that docs/redis.md recommends, and the bytes that a signed-in session of five entries
# takes with it, and with Redis' default of 64.
RECOMMENDED, COMPACT_BYTES, LOOSE_BYTES = 256, 408, 752


def problems(found: Inspection) -> Iterator[CheckMessage]:
    """All that ``found`` shows, and what it could not show."""
    yield from _about_identity(found.identity)
    yield from _about_memory(found.memory)
    if found.survives_restart is False:
        yield _forgetful(found)
    yield from _about_encoding(found)
    yield from _about_types(found)
    yield from _about_refusals(found)


def _about_identity(server: Identity | Refusal | None) -> Iterator[CheckMessage]:
    if not isinstance(server, Identity):
        return
    if not server.is_known:
        yield checks.Info(
            f"The server at {_here()} is {server}. This engine is made for Redis and Valkey, and "
            "tested with them only.",
            "If sessions work there, there is nothing to do. Checks that depend on the version, "
            "or on how Redis stores sessions, were left out.",
            id="sessions_redis.I024",
        )
    elif is_too_old(server):
        major, minor = OLDEST[server.product]
        yield Error(
            f"The server at {_here()} is {server}, which lacks commands that this engine needs.",
            f"Use {server.product} {major}.{minor} or later.",
            id="sessions_redis.E015",
        )
    elif has_faults_in_lua(server):
        yield checks.Warning(
            f"The server at {_here()} is {server}. That version has faults in Lua with which a "
            "client that may run scripts can take over the server, act as another user, or crash "
            "it: CVE-2025-49844, CVE-2025-46817, CVE-2025-46818, CVE-2025-46819.",
            'Install the version that docs/redis.md names under "Versions". Debian, Ubuntu and '
            "providers of hosted servers also repair older versions without changing the number: "
            'Debian 12 did so in its package 5:7.0.15-1~deb12u6. Ask them, or see "dpkg -s '
            'redis-server" on that machine. If yours is repaired, add the ID to '
            "SILENCED_SYSTEM_CHECKS. Until then, give no other program the right to run scripts.",
            id="sessions_redis.W023",
        )


def _about_memory(memory: Memory | Refusal) -> Iterator[CheckMessage]:
    if isinstance(memory, Refusal) or memory.policy in {None, "noeviction"}:
        return
    when = "when its memory is full" if memory.limit else "once maxmemory, which is 0, is set"
    yield checks.Warning(
        f"Redis at {_here()} has the maxmemory-policy {memory.policy}: "
        f"{when}, it removes sessions, and the indexes that list them.",
        "A visitor whose session is removed is signed out. Sessions whose index is removed stay "
        "valid, but nobody can list them or end them together until each is used or saved again, "
        "or until you run manage.py rebuildindex. Set "
        '"maxmemory-policy noeviction" in that server, and use another server for caches.',
        id="sessions_redis.W009",
    )


def _forgetful(found: Inspection) -> CheckMessage:
    seen = (
        "It writes no append-only file and takes no snapshots"
        if isinstance(found.save_points, str)
        else "It writes no append-only file, and has taken no snapshot since it started"
    )
    return checks.Warning(
        f"Redis at {_here()} keeps sessions in memory only. {seen}. When it restarts, every "
        "visitor is signed out.",
        'Set "appendonly yes" in that server. If it is a hosted one, turn on persistence or '
        "replicas there. If something else takes snapshots (BGSAVE), or you accept the loss, add "
        "the ID to SILENCED_SYSTEM_CHECKS.",
        id="sessions_redis.W016",
    )


def _about_encoding(found: Inspection) -> Iterator[CheckMessage]:
    if found.identity is None or (
        isinstance(found.identity, Identity) and not found.identity.is_known
    ):
        return  # Other servers store hashes in other ways.
    limit, encodings = found.compact_limit, found.encodings
    loose = [one for one in encodings if one not in COMPACT]
    if isinstance(limit, int):
        # Sessions that exceed the recommended limit as well are what the site stores, and not
        # the fault of the server. Without any session yet, the limit alone decides.
        is_too_small = limit < RECOMMENDED and (bool(loose) or not encodings)
        seen = f"has hash-max-listpack-value {limit}"
    else:
        is_too_small = len(loose) * 2 > len(encodings)
        seen = "seems to have a small hash-max-listpack-value"
    if is_too_small:
        yield checks.Warning(
            f"Redis at {_here()} {seen}, so sessions take more memory than they need. "
            f"{_cost(found, len(loose), len(encodings))}",
            f'Set "hash-max-listpack-value {RECOMMENDED}" in that server (Redis 6.2: '
            "hash-max-ziplist-value). It applies to sessions that are created afterward.",
            id="sessions_redis.W017",
        )


def _cost(found: Inspection, loose: int, sampled: int) -> str:
    general = (
        f"A signed-in session of five entries takes {LOOSE_BYTES} bytes in place of "
        f"{COMPACT_BYTES}, because a longer value than that limit keeps Redis from storing the "
        "session in one compact block."
    )
    if not loose:
        return general
    affected = found.listed * loose / sampled
    wasted = shown_size(affected * (LOOSE_BYTES - COMPACT_BYTES))
    return (
        f"{general} This concerns {loose} of {sampled} sessions that were looked at. For all "
        f"{found.listed:,} sessions in the index, it costs about {wasted}."
    )


def _about_types(found: Inspection) -> Iterator[CheckMessage]:
    listing = {index.key: index for one in found.sample for index in one.indexes}
    indexes = {index.key: index for index in found.indexes} | listing
    wrong = sorted(key for key, one in indexes.items() if isinstance(one.members, WrongType))
    for key in wrong:
        of_all = any(key == one.key for one in found.indexes)
        whose = "sessions" if of_all else "the sessions of that user"
        yield Error(
            f"The key {key!r} in Redis at {_here()} should be an index of sessions (a sorted set), "
            f"but has another type. Nobody can list {whose}, or end them together.",
            f"Another program wrote it. See what it is (TYPE {key!r}), delete it, and run "
            "manage.py rebuildindex. Give each program in this database a prefix of its own.",
            id="sessions_redis.E020",
        )
    others = sorted(one.key for one in found.sample if isinstance(one.owner, WrongType))
    if others:
        yield checks.Warning(
            f"In Redis at {_here()}, keys with the names of sessions are not hashes: "
            f"{', '.join(others[:SHOWN])}. ({len(others)} of {len(found.sample)} keys that were "
            "looked at.) The engine ignores such keys.",
            "Another program wrote them, maybe an engine that was in use before. Give each program "
            "in this database a prefix of its own, and delete these keys.",
            id="sessions_redis.W021",
        )


# What each command shows, for the message that says what was not checked.
SHOWN_BY = {
    "info": "its version, its maxmemory-policy and its persistence",
    "object|encoding": "whether it stores sessions compactly",
}


def _about_refusals(found: Inspection) -> Iterator[CheckMessage]:
    refused = [name for name in found.refused if name in SHOWN_BY]
    if refused:
        yield checks.Info(
            f"Redis at {_here()} does not allow this site to run "
            f"{' and '.join(name.upper().replace('|', ' ') for name in refused)}, so these were "
            f"not checked: {', '.join(SHOWN_BY[name] for name in refused)}.",
            "The site does not need these commands. To have the checks, allow them to its Redis "
            f"user ({' '.join(f'+{name}' for name in refused)}), or run the checks with settings "
            "of another user.",
            id="sessions_redis.I025",
        )


def _here() -> str:
    return conf.current().shown_location
