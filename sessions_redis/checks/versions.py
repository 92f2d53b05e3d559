"""Which versions of the server the engine needs, and which have known faults in Lua."""

from sessions_redis.storage.servers import Identity

# The oldest that the engine works with. docs/redis.md has both tables, with their reasons.
OLDEST = {"Redis": (6, 2), "Valkey": (7, 2)}

# For each line of versions, the first one that fixes the faults in Lua of October 2025:
# CVE-2025-49844, CVE-2025-46817, CVE-2025-46818 and CVE-2025-46819. Lines that are newer than all
# of these began later. Lines in between, such as Redis 7.0, were no longer maintained.
FIXED = {
    "Redis": {(6, 2): 20, (7, 2): 11, (7, 4): 6, (8, 0): 4, (8, 2): 2},
    "Valkey": {(7, 2): 11, (8, 0): 6, (8, 1): 4},
}


def is_too_old(server: Identity) -> bool:
    """Whether the engine cannot work with it. Servers other than Redis and Valkey never are."""
    return server.numbers[:2] < OLDEST.get(server.product, (0, 0))


def has_faults_in_lua(server: Identity) -> bool:
    """
    Whether this version has them, as its makers published it.

    Distributions such as Debian fix faults without changing the version. Of servers other than
    Redis and Valkey, nothing is known.
    """
    fixed = FIXED.get(server.product)
    if fixed is None:
        return False
    *line, patch = server.numbers
    first = fixed.get((line[0], line[1]))
    return (line[0], line[1]) < max(fixed) if first is None else patch < first
