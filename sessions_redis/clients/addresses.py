"""Where clients of redis-py connect, by their settings alone: this connects to nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from redis.connection import SSLConnection, UnixDomainSocketConnection, parse_url

from sessions_redis import clusters, conf
from sessions_redis.clients import pools

# Schemes of other clients for Redis, such as django-valkey's, and redis-py's name for the same.
_SCHEMES = {"valkey": "redis", "valkeys": "rediss", **clusters.SCHEMES}

# The options of redis-py with which a client signs in.
_SIGNS_IN = ("password", "credential_provider", "ssl_certfile")

# Names that stand for this machine, in addition to loopback addresses.
_THIS_MACHINE = {"localhost", "localhost.localdomain", "ip6-localhost"}

LOCAL = "localhost"


@dataclass(frozen=True, slots=True)
class Address:
    """
    One database of one server: ``host`` (`LOCAL` for this machine, by any of its names) and
    ``port``, or ``path``, that of a socket.

    ``is_encrypted``: whether the client uses TLS. ``signs_in``: whether it has a password or
    something in its place. Two addresses are equal if both lead to the same database.
    """

    host: str
    port: int
    path: str
    database: int

    @property
    def is_local(self) -> bool:
        return bool(self.path) or self.host == LOCAL

    @property
    def is_in_private_network(self) -> bool:
        """Whether others cannot reach the host from the internet, as far as its name says."""
        try:
            return ip_address(self.host).is_private
        except ValueError:
            # The name of a container or of a machine in the same network has no domain.
            return "." not in self.host or self.host.endswith((".internal", ".local", ".lan"))


@dataclass(frozen=True, slots=True)
class Access:
    """How a client reaches ``address``."""

    address: Address
    is_encrypted: bool
    signs_in: bool


def of_sessions() -> list[Access]:
    """
    How the engine reaches its server, or the nodes of a Cluster that ``LOCATION`` names.

    Not for ``memory://`` and ``embedded://``. Raises ``ImproperlyConfigured`` if redis-py refuses
    the settings.
    """
    settings = conf.current()
    pool = pools.build_pool(settings, pools.SYNC, repeats=True)
    options = {**pool.connection_kwargs, "connection_class": pool.connection_class}
    if not clusters.is_cluster(settings.location):
        return [access(options)]
    nodes = clusters.seeds_at(settings.location).nodes
    return [access({**options, "host": host, "port": port}) for host, port in nodes]


def of_url(url: str, options: Mapping[str, Any]) -> Address | None:
    """The address of a client with these settings; ``None`` if redis-py cannot read ``url``."""
    scheme, separator, rest = url.strip().partition("://")
    try:
        read: Any = parse_url  # redis-py does not say the types of this function
        in_url = read(f"{_SCHEMES.get(scheme, scheme)}{separator}{rest}")
        return access({"host": LOCAL, **options, **in_url}).address
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def access(options: Mapping[str, Any]) -> Access:
    """
    How a client with these options of redis-py reaches its server.

    Without a host, as with a pool that asks others for it, the host is ``""`` and not local.
    """
    kind = options.get("connection_class")
    is_socket = isinstance(kind, type) and issubclass(kind, UnixDomainSocketConnection)
    address = Address(
        "" if is_socket else _host(options.get("host", "")),
        0 if is_socket else int(options.get("port", 6379)),
        str(options["path"]) if is_socket else "",
        int(options.get("db") or 0),
    )
    is_encrypted = isinstance(kind, type) and issubclass(kind, SSLConnection)
    return Access(address, is_encrypted, any(options.get(name) for name in _SIGNS_IN))


def _host(name: str) -> str:
    name = name.lower().rstrip(".")
    if name in _THIS_MACHINE or name.endswith(".localhost"):
        return LOCAL
    try:
        address = ip_address(name)
    except ValueError:
        return name
    return LOCAL if address.is_loopback or address.is_unspecified else str(address)
