"""
What the servers themselves say, and how they store sessions: what a site needs to know of both.

In a Cluster, a finding of one kind names all nodes that it concerns.
"""

from collections.abc import Collection, Iterator, Mapping

from django.core import checks
from django.core.checks import CheckMessage, Error

from sessions_redis import conf
from sessions_redis.checks.versions import OLDEST, has_faults_in_lua, is_too_old
from sessions_redis.registry.inspection import Inspection, Server
from sessions_redis.sizes import shown_size
from sessions_redis.storage.commands import WrongType
from sessions_redis.storage.samples import COMPACT
from sessions_redis.storage.servers import Identity, Memory

# How many sessions the checks look at.
SAMPLE = 50

# How many keys a message names.
SHOWN = 3

# The limit that docs/redis.md recommends, and the bytes that a signed-in session of five entries
# takes with it, and with Redis' default of 64.
RECOMMENDED, COMPACT_BYTES, LOOSE_BYTES = 256, 408, 752


def problems(found: Inspection) -> Iterator[CheckMessage]:
    """All that ``found`` shows, and what it could not show."""
    yield from _about_identity(found)
    yield from _about_memory(found)
    yield from _about_persistence(found)
    yield from _about_encoding(found)
    yield from _about_types(found)
    yield from _about_refusals(found)


def _about_identity(found: Inspection) -> Iterator[CheckMessage]:
    said = {one: one.identity for one in found.servers if isinstance(one.identity, Identity)}
    others = {one: it for one, it in said.items() if not it.is_known}
    old = {one: it for one, it in said.items() if it.is_known and is_too_old(it)}
    faulty = {one: it for one, it in said.items() if has_faults_in_lua(it) and one not in old}
    if others:
        yield checks.Info(
            f"The server at {_place(found, others)} is {_each(others)}. This engine is made for "
            "Redis and Valkey, and tested with them only.",
            "If sessions work there, there is nothing to do. Checks that depend on the version, "
            "or on how Redis stores sessions, were left out.",
            id="sessions_redis.I024",
        )
    if old:
        least = sorted({it.product for it in old.values()})
        yield Error(
            f"The server at {_place(found, old)} is {_each(old)}, which lacks commands that this "
            "engine needs.",
            f"Use {' or '.join(f'{name} {_version(OLDEST[name])}' for name in least)} or later.",
            id="sessions_redis.E015",
        )
    if faulty:
        yield _faulty(_place(found, faulty), _each(faulty))


def _faulty(place: str, versions: str) -> CheckMessage:
    return checks.Warning(
        f"The server at {place} is {versions}. That version has faults in Lua with which a "
        "client that may run scripts can take over the server, act as another user, or crash "
        "it: CVE-2025-49844, CVE-2025-46817, CVE-2025-46818, CVE-2025-46819.",
        'Install the version that docs/redis.md names under "Versions". Debian, Ubuntu and '
        "providers of hosted servers also repair older versions without changing the number: "
        'Debian 12 did so in its package 5:7.0.15-1~deb12u6. Ask them, or see "dpkg -s '
        'redis-server" on that machine. If yours is repaired, add the ID to '
        "SILENCED_SYSTEM_CHECKS. Until then, give no other program the right to run scripts.",
        id="sessions_redis.W023",
    )


def _version(numbers: tuple[int, int]) -> str:
    return ".".join(map(str, numbers))


def _about_memory(found: Inspection) -> Iterator[CheckMessage]:
    said = {one: one.memory for one in found.servers if isinstance(one.memory, Memory)}
    evicting = {one: it for one, it in said.items() if it.policy not in {None, "noeviction"}}
    if not evicting:
        return
    policies = _each({one: it.policy for one, it in evicting.items()})
    has_limit = any(it.limit for it in evicting.values())
    when = "when its memory is full" if has_limit else "once maxmemory, which is 0, is set"
    yield checks.Warning(
        f"Redis at {_place(found, evicting)} has the maxmemory-policy {policies}: "
        f"{when}, it removes sessions, and the indexes that list them.",
        "A visitor whose session is removed is signed out. Sessions whose index is removed stay "
        "valid, but nobody can list them or end them together until each is used or saved again, "
        "or until you run manage.py rebuildindex. Set "
        '"maxmemory-policy noeviction" in that server, and use another server for caches.',
        id="sessions_redis.W009",
    )


def _about_persistence(found: Inspection) -> Iterator[CheckMessage]:
    forgetful = [one for one in found.servers if one.survives_restart is False]
    if not forgetful:
        return
    seen = (
        "It writes no append-only file and takes no snapshots"
        if all(isinstance(one.save_points, str) for one in forgetful)
        else "It writes no append-only file, and has taken no snapshot since it started"
    )
    signed_out = "every visitor" if not found.nodes else "every visitor whose session is there"
    yield checks.Warning(
        f"Redis at {_place(found, forgetful)} keeps sessions in memory only. {seen}. When it "
        f"restarts, {signed_out} is signed out.",
        'Set "appendonly yes" in that server. If it is a hosted one, turn on persistence or '
        "replicas there. If something else takes snapshots (BGSAVE), or you accept the loss, add "
        "the ID to SILENCED_SYSTEM_CHECKS.",
        id="sessions_redis.W016",
    )


def _about_encoding(found: Inspection) -> Iterator[CheckMessage]:
    # Other servers store hashes in other ways.
    known = [one for one in found.servers if one.identity is not None]
    if not known or not all(one.is_known for one in found.identities):
        return
    encodings = found.encodings
    loose = [one for one in encodings if one not in COMPACT]
    limits = {one: one.compact_limit for one in known if isinstance(one.compact_limit, int)}
    small = {one: limit for one, limit in limits.items() if limit < RECOMMENDED}
    if limits:
        # Sessions that exceed the recommended limit as well are what the site stores, and not
        # the fault of the server. Without any session yet, the limit alone decides.
        is_too_small = bool(small) and (bool(loose) or not encodings)
        seen = f"has hash-max-listpack-value {_each(small)}"
    else:
        is_too_small = len(loose) * 2 > len(encodings)
        seen = "seems to have a small hash-max-listpack-value"
    if is_too_small:
        yield checks.Warning(
            f"Redis at {_place(found, small or known)} {seen}, so sessions take more memory than "
            f"they need. {_cost(found, len(loose), len(encodings))}",
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


def _place(found: Inspection, concerned: Collection[Server]) -> str:
    """The address of the site's Redis, and in a Cluster the nodes that a finding concerns."""
    names = [one.node.name for one in concerned if one.node]
    if not names:
        return _here()
    if len(names) == len(found.nodes) > 1:
        return f"{_here()} (each of {len(names)} masters)"
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{_here()} (node {', '.join(names[:SHOWN])}{more})"


def _each(values: Mapping[Server, object]) -> str:
    """The different values: one, as mostly, or several nodes have different ones."""
    return " or ".join(dict.fromkeys(map(str, values.values())))
