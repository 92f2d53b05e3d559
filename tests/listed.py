"""What the indexes hold, beside what they promise: see the sessions' hashes."""

# A session is listed for two of these longer than it lives at most: this part of its lifetime, and
# no more than this, in milliseconds.
PART, MOST = 32, 600_000


def sessions(raw, prefix):
    """The fields of each session, by its id."""
    found = {}
    for key in raw.scan_iter(f"{prefix}:*", count=1000):
        if raw.type(key) == b"hash" and b"@created" in (fields := raw.hgetall(key)):
            found[key.decode().removeprefix(f"{prefix}:")] = fields
    return found


def indexes_of(user):
    """The names of the indexes that a session of ``user`` is in."""
    return {"index", "index:signed-in", f"user:{user}"} if user else {"index", "index:anonymous"}


def scores(raw, prefix):
    """What each index holds: ids and times in ms, by the index's name."""
    return {
        name.decode().removeprefix(f"{prefix}:"): {
            id.decode(): round(at * 1000) for id, at in raw.zrange(name, 0, -1, withscores=True)
        }
        for name in raw.scan_iter(f"{prefix}:*", count=1000)
        if raw.type(name) == b"zset"
    }


def members(raw, prefix):
    """The names of the indexes that list each id, by the id."""
    found = {}
    for name, ids in scores(raw, prefix).items():
        for id in ids:
            found.setdefault(id, set()).add(name)
    return found


def expect_listed(raw, prefix):
    """
    Each session is in the indexes of its user alone, with one time, as has been promised.

    That is: not before it expires, and not more than two margins after it. Nothing else is in an
    index, and each index lives at least as long as it lists.
    """
    held, live = scores(raw, prefix), sessions(raw, prefix)
    users = {id: fields.get(b"@user", b"").decode() for id, fields in live.items()}
    assert members(raw, prefix) == {id: indexes_of(user) for id, user in users.items()}
    for id, fields in live.items():
        expires = raw.pexpiretime(f"{prefix}:{id}")
        margin = min((expires - int(fields[b"@updated"]) * 1000) / PART, MOST)
        (listed,) = {held[name][id] for name in indexes_of(users[id])}
        assert listed == int(fields[b"@listed"])
        assert expires <= listed <= expires + 2 * margin
    for name, ids in held.items():
        assert raw.pexpiretime(f"{prefix}:{name}") >= max(ids.values())
