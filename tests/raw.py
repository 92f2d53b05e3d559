"""A client of redis-py for tests, which reads Redis directly, not through the engine."""

import redis
from redis.cluster import ClusterNode, RedisCluster

from sessions_redis.clusters import is_cluster


def client_at(url: str) -> redis.Redis | RedisCluster:
    """A client of one server. At the URL of a Cluster, one that finds keys on all nodes."""
    if not is_cluster(url):
        return redis.Redis.from_url(url)
    hosts = [address.split(":") for address in url.partition("://")[2].split(",")]
    return RedisCluster(startup_nodes=[ClusterNode(host, int(port)) for host, port in hosts])
