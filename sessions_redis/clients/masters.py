"""
Connections to the master of a service that Sentinels watch.

They are redis-py's: before one opens, it asks the Sentinels for the master. But redis-py asks only
then. So a connection to a former master would go on writing there, until that server learns that
it is a replica. Two rules shorten this:

- While a process uses its connections, it asks the Sentinels again every second.
- After the master has changed or refused to write, connections to it are not used again.
"""

from collections.abc import Mapping
from contextlib import suppress
from time import monotonic
from typing import Any

import redis.asyncio.connection
import redis.asyncio.sentinel
import redis.connection
import redis.sentinel
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError
from redis.retry import Retry

from sessions_redis import services
from sessions_redis.clients.connections import AsyncChecked, Checked
from sessions_redis.clients.exchange import is_refusal_of_replica
from sessions_redis.clients.garbage import asign_in, sign_in
from sessions_redis.clients.sentinels import Address, AsyncManager, Manager, NoMasterError

# How often a process asks the Sentinels again while it uses its connections.
ASK_AGAIN_SECONDS = 1.0

# If the Sentinels answer slowly, the process spends at most this share of its time on asking.
ASK_AGAIN_SHARE = 0.1

# The options for redis-py's class of Sentinels. The others are for the connections to the servers.
OF_MANAGER = {"min_other_sentinels": int, "force_master_ip": str}

# Options for the servers that are also for the Sentinels, unless sentinel_kwargs has other values.
OF_BOTH = {
    "socket_timeout",
    "socket_connect_timeout",
    "socket_keepalive",
    "socket_keepalive_options",
}

# Options that would mean something else with Sentinels, and why.
REFUSED = {
    "ssl": "for TLS, write rediss+sentinel:// in LOCATION",
    "is_master": "sessions are read from the master",
    "connection_class": "the connections are redis-py's for Sentinel",
    "host": "LOCATION names the Sentinels, and they name the servers",
    "port": "LOCATION names the Sentinels, and they name the servers",
}
REFUSED_BY_SENTINELS = {"retry": "the next Sentinel is asked in place of a retry"}


class _OfMaster:
    """The common part of connections to a master."""

    host: str
    port: int
    connection_pool: Any  # it has the address of the master

    def is_usable(self) -> bool:
        """``False`` also if the connection leads to a former master."""
        return self._leads_to_master() and bool(super().is_usable())  # type: ignore[misc]  # of Checked

    def _leads_to_master(self) -> bool:
        """Whether this process takes the server of this connection for the master."""
        return bool((self.host, self.port) == self.connection_pool.master_address)

    def _note(self, error: ResponseError) -> None:
        """After a refusal to write, use no connection again, and ask another Sentinel first."""
        # Another connection to this server may have been refused before, and noted it.
        if is_refusal_of_replica(error) and self._leads_to_master():
            self.connection_pool.master_address = None
            self.connection_pool.sentinel_manager.distrust_first()


def _without_sentinel(module: Any, connection: Any) -> Any:
    """
    The methods that ``connection`` has without redis-py's class for Sentinel in ``module``.

    That class raises a ``ConnectionError`` in place of the server's refusal to write, so the
    command would count as one that the server may have run.
    """
    return super(module.SentinelManagedConnection, connection)


class _MasterConnection(_OfMaster, Checked):
    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return _without_sentinel(redis.sentinel, self).read_response(*args, **kwargs)
        except ResponseError as error:
            self._note(error)
            raise


class MasterConnection(_MasterConnection, redis.sentinel.SentinelManagedConnection):
    pass


class MasterSSLConnection(_MasterConnection, redis.sentinel.SentinelManagedSSLConnection):
    pass


class _AsyncMasterConnection(_OfMaster, AsyncChecked):
    async def read_response(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return await _without_sentinel(redis.asyncio.sentinel, self).read_response(
                *args, **kwargs
            )
        except ResponseError as error:
            self._note(error)
            raise


class AsyncMasterConnection(
    _AsyncMasterConnection, redis.asyncio.sentinel.SentinelManagedConnection
):
    pass


class AsyncMasterSSLConnection(
    _AsyncMasterConnection, redis.asyncio.sentinel.SentinelManagedSSLConnection
):
    pass


class _ServicePool:
    """
    The common part of the pools. `Leases` lets requests wait for a connection, not this pool.

    ``timeout``: how many seconds `Leases` lets them wait.
    """

    _manager: Any
    _plain: Any  # the class of connections without TLS
    _encrypted: Any
    _parse_url: Any
    _retry: Any
    _sign_in: Any

    timeout: float | None
    sentinel_manager: Any
    master_address: Address | None
    _asks_again_at = 0.0

    @classmethod
    def from_url(cls, location: str, **options: Any) -> Any:
        """
        A pool for the master of the service at ``location``, built as redis-py's pools are.

        Options behind the ``?`` win, as in redis-py.
        """
        service = services.service_at(location)
        of_url = cls._parse_url(service.server_url)
        kind = cls._encrypted if of_url.pop("connection_class", None) else cls._plain
        del of_url["host"]
        options |= of_url
        _refuse(REFUSED, options)
        of_sentinels = cls._options_of_sentinels(options)
        of_manager = {
            name: read(options.pop(name)) for name, read in OF_MANAGER.items() if name in options
        }
        manager = cls._manager(service.sentinels, sentinel_kwargs=of_sentinels, **of_manager)
        timeout = options.pop("timeout")
        pool: Any = cls(service.name, manager, connection_class=kind, **options)  # type: ignore[call-arg]  # redis-py's
        pool.timeout = timeout
        return pool

    @classmethod
    def _options_of_sentinels(cls, options: dict[str, Any]) -> dict[str, Any]:
        """Take those of ``options`` that are for the Sentinels, and add the defaults."""
        given = options.pop("sentinel_kwargs", {})
        if not isinstance(given, Mapping):
            raise TypeError("the option sentinel_kwargs takes a dictionary")
        _refuse(REFUSED_BY_SENTINELS, given)
        return {
            **{name: options[name] for name in OF_BOTH & options.keys()},
            "retry": cls._retry(NoBackoff(), 0),
            "redis_connect_func": cls._sign_in,
            "protocol": 2,  # so that a user of the Sentinels needs no permission for HELLO
            **given,
        }

    @property
    def options_of_sentinels(self) -> Mapping[str, Any]:
        options: Mapping[str, Any] = self.sentinel_manager.sentinel_kwargs
        return options

    def _must_ask_again(self) -> bool:
        """Whether the master that this process knows may have changed. The next time is later."""
        is_time = self.master_address is not None and monotonic() >= self._asks_again_at
        if is_time:
            self._asked(since=monotonic())
        return is_time

    def _asked(self, *, since: float) -> None:
        now = monotonic()
        self._asks_again_at = now + max(ASK_AGAIN_SECONDS, (now - since) / ASK_AGAIN_SHARE)


def _refuse(names: Mapping[str, str], options: Mapping[str, Any]) -> None:
    for name, reason in names.items():
        if name in options:
            raise TypeError(f"with Sentinel, leave out the option {name}: {reason}")


class ServicePool(_ServicePool, redis.sentinel.SentinelConnectionPool):  # type: ignore[misc]  # see from_url()
    _manager = Manager
    _plain, _encrypted = MasterConnection, MasterSSLConnection
    _parse_url = staticmethod(redis.connection.parse_url)
    _retry = Retry
    _sign_in = staticmethod(sign_in)

    def get_connection(self, *args: Any, **kwargs: Any) -> Any:
        if self._must_ask_again():
            began = monotonic()
            # Without an answer, the connection may still be good. If it is not, connecting raises.
            with suppress(NoMasterError):
                self.get_master_address()  # type: ignore[no-untyped-call]  # redis-py's
            self._asked(since=began)
        return super().get_connection(*args, **kwargs)

    def owns_connection(self, connection: Any) -> int:
        # redis-py's class drops connections to a former master, and its older versions lose the
        # right to create another. Here they stay, and connect again when they are used.
        return int(connection.pid == self.pid)

    def disconnect(self, inuse_connections: bool = True) -> None:  # noqa: FBT001, FBT002 - redis-py's
        super().disconnect(inuse_connections)
        if inuse_connections:
            for sentinel in self.sentinel_manager.sentinels:
                sentinel.connection_pool.disconnect()


class AsyncServicePool(_ServicePool, redis.asyncio.sentinel.SentinelConnectionPool):  # type: ignore[misc]
    _manager = AsyncManager
    _plain, _encrypted = AsyncMasterConnection, AsyncMasterSSLConnection
    _parse_url = staticmethod(redis.asyncio.connection.parse_url)
    _retry = AsyncRetry
    _sign_in = staticmethod(asign_in)

    async def get_connection(self, *args: Any, **kwargs: Any) -> Any:
        if self._must_ask_again():
            began = monotonic()
            with suppress(NoMasterError):
                await self.get_master_address()  # type: ignore[no-untyped-call]  # redis-py's
            self._asked(since=began)
        return await super().get_connection(*args, **kwargs)  # type: ignore[no-untyped-call]

    async def disconnect(self, inuse_connections: bool = True) -> None:  # noqa: FBT001, FBT002
        if not inuse_connections:  # the master has changed
            # At once: redis-py would wait in between, and a task could take one of them.
            connection: Any
            for connection in self._available_connections:
                connection._abort()
            return
        await super().disconnect()
        for sentinel in self.sentinel_manager.sentinels:
            await sentinel.connection_pool.disconnect()
