"""
The name with which this package's connections appear in the server's ``CLIENT LIST``.

redis-py tells the server its own name and version on each new connection. It has a place there for
the package that uses it, so this name costs no round trip of its own. A server that does not know
``CLIENT SETINFO``, or forbids it, only keeps no name: redis-py continues without it.
"""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

NAME = "sessions_redis"
DISTRIBUTION = "django-sessions-redis"

# The options with which a site sets another name, or with None no name.
OPTIONS = {"driver_info", "lib_name", "lib_version"}


def named(options: Mapping[str, Any]) -> dict[str, Any]:
    """
    The options for redis-py that name this package. None if a site's ``options`` set the name.
    """
    return {} if OPTIONS & options.keys() else _own_name()


@cache
def _own_name() -> dict[str, Any]:
    if find_spec("redis.driver_info") is None:  # an older redis-py
        return {"lib_name": f"redis-py({NAME}_v{_own_version()})"}
    from redis.driver_info import DriverInfo  # noqa: PLC0415 - see above

    return {"driver_info": DriverInfo().add_upstream_driver(NAME, _own_version())}


def _own_version() -> str:
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:  # a site may have only the folder, without installing it
        return "unknown"
