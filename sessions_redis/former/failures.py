"""What a former session store raises when it is away, put into words."""

from collections.abc import Iterator
from types import TracebackType

from django.db import InterfaceError, InternalError, OperationalError

from sessions_redis.exceptions import SessionStoreUnavailable

# InternalError: a PostgreSQL server that has become a replica refuses to write.
OUTAGES = (OperationalError, InterfaceError, InternalError, OSError)

# Packages whose errors mean that a cache is away. None of them is imported for that.
CACHE_PACKAGES = frozenset(
    {"redis", "valkey", "django_redis", "django_valkey", "pymemcache", "pylibmc"}
)


class NotStored(OSError):  # noqa: N818 - named for what happened
    """A store answered as if it had stored a session, and had not."""


class Failures:
    """
    A context that turns an outage of the store of the engine ``path`` into an exception of ours.

    That is `SessionStoreUnavailable`. Other errors pass.
    """

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # A generator can be closed while an error is handled that is not its own.
        is_over = isinstance(error, GeneratorExit | SessionStoreUnavailable)
        if is_over or not is_outage(error):
            return
        raise SessionStoreUnavailable(
            f"The store of the session engine {self.path} is unavailable: {_reason(error)}"
        ) from _without_key(error)


def is_outage(error: BaseException | None) -> bool:
    """Whether ``error``, or an error that led to it, means that a store is away."""
    return any(isinstance(one, OUTAGES) or _is_of_cache(one) for one in _chain(error))


def _is_of_cache(error: BaseException) -> bool:
    return any(kind.__module__.partition(".")[0] in CACHE_PACKAGES for kind in type(error).__mro__)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _reason(error: BaseException | None) -> str:
    """The error in words. The last one that is an outage says most."""
    reason = [one for one in _chain(error) if isinstance(one, OUTAGES) or _is_of_cache(one)][-1]
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror  # without the file's name, which has the session key in it
    return str(reason).strip() or type(reason).__name__


def _without_key(error: BaseException | None) -> BaseException | None:
    """The same error, without what holds the session key: frames of libraries, names of files."""
    for one in _chain(error):
        one.__traceback__ = None
        if isinstance(one, OSError) and one.filename is not None:
            one.filename = one.filename2 = None
    return error
