"""
Asks the Sentinels of a service for the address of its master, with redis-py's own classes.

They ask one Sentinel after the other. Here they also keep what each answered, so that an error says
why there is no master.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from threading import Lock
from time import monotonic
from typing import Any

import redis
import redis.asyncio.sentinel
import redis.sentinel
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    RedisError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from sessions_redis.clients.circuit import Circuit
from sessions_redis.clients.garbage import UNREADABLE
from sessions_redis.clients.losses import LOST_CONNECTION
from sessions_redis.clients.reports import redacted, without_tracebacks

# What a Sentinel answers: redis-py's dictionary of the services that it knows, or an error.
Answer = Mapping[str, Any] | BaseException
Address = tuple[str, int]

# Errors with which a Sentinel fails to answer.
FAILURES = (RedisError, *UNREADABLE, *LOST_CONNECTION)


class NoMasterError(RedisError):
    """
    No Sentinel named a master. ``remedy``: what to do.

    It is not a ``ConnectionError``, so redis-py does not ask all Sentinels again.
    """

    def __init__(self, service: str, answers: Mapping[Any, Answer]) -> None:
        reasons = {sentinel: _reason(said, service) for sentinel, said in answers.items()}
        super().__init__(
            "; ".join(f"{_address_of(sentinel)} {said}" for sentinel, (said, _) in reasons.items())
        )
        remedies = {remedy for _, remedy in reasons.values()}
        # Of different remedies, the one for the Sentinel that came nearest to an answer.
        self.remedy = next(remedy for remedy in REMEDIES if remedy in remedies)


IN_FAILOVER = (
    "The site works again when the Sentinels have promoted a replica. If they do not, run SENTINEL "
    "CKQUORUM on one of them."
)
SIGN_IN = (
    "User and password of the Sentinels belong into "
    'SESSION_REDIS["OPTIONS"]["sentinel_kwargs"], as {"username": …, "password": …}. The ones in '
    "LOCATION are for the servers. docs/sentinel.md names the commands that the user needs."
)
OTHER_NAME = (
    'Does SESSION_REDIS["LOCATION"] end in the name that "sentinel monitor" has in their '
    "configuration?"
)
NO_SENTINEL = (
    'SESSION_REDIS["LOCATION"] has to name the Sentinels, which usually listen on port 26379. The '
    "servers usually listen on port 6379."
)
NO_ANSWER = (
    'Are they running, and does SESSION_REDIS["LOCATION"] name their hosts and ports? If they '
    'accept only TLS, write "sentinel_kwargs": {"ssl": True} in "OPTIONS".'
)
REMEDIES = (IN_FAILOVER, SIGN_IN, OTHER_NAME, NO_SENTINEL, NO_ANSWER)


def _reason(said: Answer, service: str) -> tuple[str, str]:
    """Why an answer names no master, and the remedy."""
    if isinstance(said, AuthenticationError | NoPermissionError):
        return f"does not let this site in ({_text(said)})", SIGN_IN
    if isinstance(said, ResponseError):
        return f"refuses the command SENTINEL MASTERS ({_text(said)})", NO_SENTINEL
    if isinstance(said, BaseException):
        return f"does not answer ({_text(said)})", NO_ANSWER
    if service not in said:
        return f"does not know the service {service!r}", OTHER_NAME
    master = said[service]
    if master["is_master"] and not (master["is_sdown"] or master["is_odown"]):
        return "sees fewer other Sentinels than min_other_sentinels", IN_FAILOVER
    return f"says that the master, {master['ip']}:{master['port']}, is down", IN_FAILOVER


def _text(error: BaseException) -> str:
    return str(redacted(str(error))).rstrip(".") or type(error).__name__


def _address_of(sentinel: Any) -> str:
    at = sentinel.connection_pool.connection_kwargs
    host = f"[{at['host']}]" if ":" in at["host"] else at["host"]
    return f"{host}:{at['port']}"


class SentinelCircuits:
    """
    Which Sentinels answer this process. All its pools share this.

    A Sentinel that got a question and said nothing is not asked again until it answers a thread
    that asks it. Otherwise each request would wait for its time limit.
    """

    def __init__(self) -> None:
        self._circuits: dict[Address, Circuit] = {}
        self._lock = Lock()

    @contextmanager
    def asking(self, sentinel: Any, options: Mapping[str, Any]) -> Iterator[None]:
        """
        Raise `NoAnswerError` if ``sentinel`` does not answer. Learn from the question inside.

        ``options``: those of the connections to the Sentinels.
        """
        at = sentinel.connection_pool.connection_kwargs
        circuit = self._of((at["host"], at["port"]), options)
        circuit.require_answers()
        try:
            yield
        except RedisTimeoutError:
            circuit.lost(at)
            raise
        circuit.last_answer = monotonic()

    def _of(self, address: Address, options: Mapping[str, Any]) -> Circuit:
        with self._lock:
            if address not in self._circuits:
                self._circuits[address] = Circuit(partial(_pool_at, address, options))
            return self._circuits[address]

    def close(self) -> None:
        """End the threads."""
        for circuit in list(self._circuits.values()):
            circuit.close()


def _pool_at(address: Address, options: Mapping[str, Any]) -> Any:
    """A synchronous pool for one Sentinel, also if ``options`` are for asynchronous ones."""
    host, port = address
    synchronous = {"retry": Retry(NoBackoff(), 0), "redis_connect_func": None}
    return redis.Redis(host=host, port=port, **{**options, **synchronous}).connection_pool


class _Manager:
    """
    The common part of redis-py's synchronous and asynchronous class of Sentinels.

    It asks what redis-py asks, and in a failover also for the replica that was promoted. It keeps
    what each Sentinel answered.
    """

    sentinels: list[Any]
    sentinel_kwargs: Mapping[str, Any]
    circuits: SentinelCircuits
    _force_master_ip: str | None
    check_master_state: Callable[[Mapping[str, Any], str], bool]

    def _master_named_by(self, sentinel: Any, said: Answer, service: str) -> Address | None:
        state = None if isinstance(said, BaseException) else said.get(service)
        if not state or not self.check_master_state(state, service):
            return None
        # It is asked first the next time. redis-py swaps two places of the list, so it can lose a
        # Sentinel when two threads do that at the same moment.
        if sentinel is not self.sentinels[0]:
            self.sentinels = [sentinel, *(one for one in self.sentinels if one is not sentinel)]
        return self._force_master_ip or state["ip"], state["port"]

    @staticmethod
    def _is_in_failover(said: Any, service: str) -> bool:
        return service in said and "failover_in_progress" in said[service]["flags"]

    @staticmethod
    def _put_promoted(said: Any, service: str, named: tuple[bytes, int]) -> None:
        """
        Put the promoted replica in place of the former master, if the Sentinel names it already.

        SENTINEL MASTERS goes on naming the former master until all other replicas follow the new
        one. That may take seconds, in which the former master, if it runs, accepts lost writes.
        """
        state, ip = said[service], named[0].decode()
        if (ip, named[1]) != (state["ip"], state["port"]):
            state |= {"ip": ip, "port": named[1], "is_sdown": False, "is_odown": False}

    def _asking(self, sentinel: Any) -> AbstractContextManager[None]:
        return self.circuits.asking(sentinel, self.sentinel_kwargs)

    def distrust_first(self) -> None:
        """Ask another Sentinel first: the first one named a server that is not a master."""
        self.sentinels = [*self.sentinels[1:], *self.sentinels[:1]]


class Manager(_Manager, redis.sentinel.Sentinel):
    def discover_master(self, service_name: str) -> Address:
        answers: dict[Any, Answer] = {}
        for sentinel in self.sentinels:
            try:
                with self._asking(sentinel):
                    answers[sentinel] = sentinel.sentinel_masters()
                    if self._is_in_failover(answers[sentinel], service_name):
                        named = sentinel.sentinel_get_master_addr_by_name(service_name)
                        self._put_promoted(answers[sentinel], service_name, named)
            except FAILURES as error:
                answers[sentinel] = without_tracebacks(error)
            address = self._master_named_by(sentinel, answers[sentinel], service_name)
            if address is not None:
                return address
        raise NoMasterError(service_name, answers)


class AsyncManager(_Manager, redis.asyncio.sentinel.Sentinel):
    async def discover_master(self, service_name: str) -> Address:
        answers: dict[Any, Answer] = {}
        for sentinel in self.sentinels:
            try:
                with self._asking(sentinel):
                    answers[sentinel] = await sentinel.sentinel_masters()
                    if self._is_in_failover(answers[sentinel], service_name):
                        named = await sentinel.sentinel_get_master_addr_by_name(service_name)
                        self._put_promoted(answers[sentinel], service_name, named)
            except FAILURES as error:
                answers[sentinel] = without_tracebacks(error)
            address = self._master_named_by(sentinel, answers[sentinel], service_name)
            if address is not None:
                return address
        raise NoMasterError(service_name, answers)
