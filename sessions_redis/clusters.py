"""
The URL of a Redis Cluster: ``redis+cluster://host1:6379,host2:6379``, and the slots of its keys.

It names some of the nodes, and these know the others. A Cluster has only one database.
"""

import re

# The schemes, and what redis-py calls the scheme of the nodes.
SCHEMES = {"redis+cluster": "redis", "rediss+cluster": "rediss"}

# The part of a key that decides its slot, see "Hash tags" in the specification of Redis Cluster.
_TAG = re.compile(r"[^{]*\{[^}]+\}", re.DOTALL)


def is_cluster(location: str) -> bool:
    return location.partition("://")[0] in SCHEMES


def has_tag(prefix: str) -> bool:
    """Whether all keys that start with ``prefix`` are in the same slot."""
    return _TAG.match(prefix) is not None
