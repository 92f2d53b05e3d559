"""What a Redis Cluster as a whole shows: its slots, its replicas, and how its indexes are split."""

from collections.abc import Iterator

from django.core import checks
from django.core.checks import CheckMessage, Error

from sessions_redis import clusters, conf
from sessions_redis.conf import Conf
from sessions_redis.registry.inspection import Inspection
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.servers import SLOTS, unserved

# From so many sessions on, one node should not keep the indexes of all of them.
MANY_SESSIONS = 1_000_000
RECOMMENDED_SHARDS = 16

# How many nodes a message names.
SHOWN = 3


def problems(found: Inspection, keyspace: Keyspace) -> Iterator[CheckMessage]:
    """What the Cluster lacks. Nothing if the site has one server."""
    nodes, where = found.nodes, conf.current().shown_location
    if not nodes:
        return
    if missing := unserved(nodes):
        yield Error(
            f"In the Redis Cluster at {where}, no node serves {missing:,} of {SLOTS:,} slots. "
            "Sessions in these slots cannot be used. With the server's default settings, no "
            "session can.",
            "Run redis-cli --cluster check with the address of a node, and redis-cli --cluster fix "
            "if it finds slots without a node. Until then, the site answers 503 to requests that "
            "need such a session.",
            id="sessions_redis.E026",
        )
    alone = [one.name for one in nodes if not one.replicas]
    if alone:
        yield checks.Warning(
            f"In the Redis Cluster at {where}, {_named(alone)} without a replica. When such a node "
            "is lost, its sessions are lost, or cannot be used until it is back.",
            "Give each master a replica on another machine, with redis-cli --cluster add-node and "
            "its option --cluster-slave. If you accept the loss, add the ID to "
            "SILENCED_SYSTEM_CHECKS.",
            id="sessions_redis.W027",
        )
    if keyspace.is_spread and keyspace.shards == 1 and found.listed > MANY_SESSIONS:
        yield checks.Warning(
            f"The Redis Cluster at {where} has {found.listed:,} sessions, and one index lists all "
            "of them. It is on one node, which each login and each log-out changes.",
            f'Set "INDEX_SHARDS": {RECOMMENDED_SHARDS} in SESSION_REDIS, then run manage.py '
            "rebuildindex. Sessions stay listed meanwhile.",
            id="sessions_redis.W028",
        )


def _named(nodes: list[str]) -> str:
    if len(nodes) == 1:
        return f"the master {nodes[0]} is"
    more = f" and {len(nodes) - SHOWN} more" if len(nodes) > SHOWN else ""
    return f"the masters {', '.join(nodes[:SHOWN])}{more} are"


def problems_of_settings(settings: Conf) -> Iterator[CheckMessage]:
    """A warning if ``INDEX_SHARDS`` changes nothing."""
    if settings.index_shards == 1:
        return
    if not clusters.is_cluster(settings.location):
        why = 'SESSION_REDIS["LOCATION"] is not the URL of a Redis Cluster (redis+cluster://)'
    elif settings.tenants is None and clusters.has_tag(settings.key_prefix):
        why = (
            'SESSION_REDIS["KEY_PREFIX"] has a part in braces, which puts all keys into the same '
            "slot of the Cluster"
        )
    elif not settings.index:
        why = 'SESSION_REDIS["INDEX"] is False, so the engine keeps no indexes'
    else:
        return
    yield checks.Warning(
        f'SESSION_REDIS["INDEX_SHARDS"] is {settings.index_shards}, but has no effect: {why}.',
        'Leave "INDEX_SHARDS" out.',
        id="sessions_redis.W029",
    )
