"""Options of redis-py that a site cannot set, because the engine would break its promises."""

from collections.abc import Iterable

_CACHE = "a cache in this process would show sessions that have ended"

REFUSED = {
    "cache": _CACHE,
    "cache_config": _CACHE,
    "connection_class": "the engine has connections of its own, which check each reply",
    "queue_class": "the engine hands out connections itself, first come, first served",
    "redis_connect_func": "the engine signs in itself",
    "single_connection_client": "each thread and each task needs a connection of its own",
}


def require_allowed(options: Iterable[str]) -> None:
    """Raise ``TypeError`` if one of the ``options``, which are names, is refused."""
    for name in options:
        if name in REFUSED:
            raise TypeError(f"the option {name} cannot be set, because {REFUSED[name]}")
