"""
Failing fast: while the server does not answer, commands fail at once and are not sent.

Otherwise each request would wait until its own time limits are over, and would keep a thread of the
site busy for so long. A thread asks the server instead, one question at a time.

Only silence counts. A server that refuses connections, closes them or answers with an error costs a
request little time, so requests go on asking it. A restart that retries can bridge fails nobody.
"""

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from threading import Event, Lock, Thread
from time import monotonic
from typing import Any, NamedTuple, cast

from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

# The pause between two questions, in seconds.
PAUSE = 0.1

# A packet that a dead host did not get is sent again a second later. So most questions end before
# that, and the next one finds out earlier whether the host is back. For a network that is slower
# than this, each tenth question has all the time that a request has.
QUICK_CONNECT = 0.5
PATIENT_EACH = 10

THREAD_NAME = "asks-whether-redis-answers"

# For a site that sets no limits.
DEFAULT_TIMEOUT = 1.0

# Any answer will do, even that the client must sign in first.
QUESTION = b"*1\r\n$4\r\nPING\r\n"


class NoAnswerError(RedisTimeoutError):
    """The server has not answered for some time, so this process does not wait for it again."""


class Circuit:
    """
    Knows whether one server answers this process. While it is open, commands are refused.

    It opens after two silences in a row: a command or a new connection got no answer in time, and
    then another new connection got none either. An answer to any request in between voids the
    first. So a lost connection never opens it, and neither does a slow command. It closes when the
    server answers or refuses a connection.

    ``new_pool``: returns a synchronous pool of redis-py. Without it, the circuit stays closed.
    ``server``: what errors call the server.
    ``opened``: when it opened, or ``None``. ``last_answer``: when the server last answered. Both
    are in seconds of `monotonic`.
    """

    def __init__(self, new_pool: Callable[[], Any] | None = None, server: str = "it") -> None:
        self.opened: float | None = None
        self.last_answer = 0.0
        self._suspected = 0.0  # when the first silence after an answer ended
        self._valid_until = 0.0
        self._new_pool = new_pool
        self._server = server
        self._lock = Lock()
        self._asking: Thread | None = None
        self._connection: Any = None
        self._is_over = Event()

    @property
    def is_suspected(self) -> bool:
        """Whether there was a silence after the last answer."""
        return self._suspected > self.last_answer

    def is_open(self) -> bool:
        """
        Whether to refuse commands.

        This does not rely on the thread alone, which may not run: uWSGI stops threads between
        requests, unless it has the option ``enable-threads``. If no question has ended for too
        long, requests are sent, and find out themselves.
        """
        opened = self.opened
        return opened is not None and self.last_answer < opened and monotonic() < self._valid_until

    def require_answers(self) -> None:
        """Raise `NoAnswerError` if the circuit is open."""
        if self.is_open():
            silence = monotonic() - max(self.last_answer, self._suspected)
            raise NoAnswerError(f"{self._server} has not answered for {silence:.1f} seconds")

    def failed(self, error: BaseException) -> None:
        """Record that an exchange failed. Raises if the circuit is open."""
        if isinstance(error, RedisTimeoutError):
            self.silent()
        if self.is_open():
            raise error

    def silent(self) -> None:
        """Record that something got no answer within its time limit."""
        if self._new_pool is not None and not self.is_suspected:
            self._suspected = monotonic()

    def lost(self, options: Mapping[str, Any]) -> None:
        """
        Open after one silence: another server can answer in place of this one.

        ``options``: those of the connection that got no answer.
        """
        self.silent()
        self._open(
            _Limits(
                options.get("socket_connect_timeout") or DEFAULT_TIMEOUT,
                options.get("socket_timeout") or DEFAULT_TIMEOUT,
            )
        )

    @contextmanager
    def connecting(self, connection: Any, silence: type[Exception]) -> Iterator[None]:
        """
        Refuse to connect while the circuit is open.

        ``silence``: the error if this step takes too long.
        """
        self.require_answers()
        began = monotonic()
        try:
            yield
        except silence:
            if self.is_suspected and self._suspected <= began:
                self._open(limits_of(connection))
            self.silent()
            raise

    def close(self) -> None:
        """End the thread, and stay closed from now on."""
        asking = self.forget()
        if asking is not None:
            asking.join()

    def forget(self) -> Thread | None:
        """As `close`, without waiting for the thread, which it returns."""
        self._is_over.set()
        with self._lock:
            asking, connection = self._asking, self._connection
        _wake(connection)
        return asking

    def _open(self, limits: "_Limits") -> None:
        with self._lock:
            if self._is_over.is_set():
                return
            now = monotonic()
            if self.opened is None or self.last_answer > self.opened:
                self.opened = now
            self._valid_until = now + limits.validity
            if not self._is_asking():
                self._asking = Thread(target=self._ask, daemon=True, name=THREAD_NAME)
                try:
                    self._asking.start()
                except RuntimeError:  # too many threads, or the interpreter is ending
                    self._asking = None

    def _is_asking(self) -> bool:
        return self._asking is not None and self._asking.is_alive()

    def _ask(self) -> None:
        """Ask until the circuit closes. Runs in a thread of its own."""
        try:
            # Sentinel's connections need their pool, so it stays in a variable.
            pool = cast("Callable[[], Any]", self._new_pool)()
            self._connection = connection = pool.make_connection()
            connection.redis_connect_func = self._question
            limits = limits_of(connection)
            questions = 0
            while not self._is_over.is_set():
                questions += 1
                is_quick = questions % PATIENT_EACH
                connection.socket_timeout = limits.answer
                connection.socket_connect_timeout = (
                    min(limits.connect, QUICK_CONNECT) if is_quick else limits.connect
                )
                if not _is_silent(connection):
                    break
                self._valid_until = monotonic() + limits.validity
                self._is_over.wait(PAUSE)
        finally:
            with self._lock:
                self.opened = self._asking = self._connection = None

    def _question(self, connection: Any) -> Any:
        """Ask without signing in."""
        connection._sock.sendall(QUESTION)
        return self._is_over.is_set() or connection._sock.recv(1)


class _Limits(NamedTuple):
    """How long a request waits for a connection and for an answer, in seconds."""

    connect: float
    answer: float

    @property
    def validity(self) -> float:
        """How long a silence says something. Meanwhile, the next question ends."""
        return 2 * (self.connect + self.answer) + 1


def limits_of(connection: Any) -> _Limits:
    return _Limits(
        connection.socket_connect_timeout or DEFAULT_TIMEOUT,
        connection.socket_timeout or DEFAULT_TIMEOUT,
    )


def _is_silent(connection: Any) -> bool:
    """Whether a new connection gets no answer in time. It is closed afterwards."""
    try:
        connection.connect()
    except (TimeoutError, RedisTimeoutError):
        return True
    except (RedisError, OSError):
        return False
    finally:
        connection.disconnect()
    return False


def _wake(connection: Any) -> None:
    """End the wait of the thread that uses ``connection``."""
    opened = getattr(connection, "_sock", None)
    if opened is not None:
        with suppress(OSError):
            opened.shutdown(socket.SHUT_RDWR)
