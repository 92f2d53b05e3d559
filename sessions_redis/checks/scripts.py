"""Whether the server runs Lua scripts. The engine writes with nothing else."""

from collections.abc import Iterator

from django.core.checks import CheckMessage, Error

from sessions_redis.clients import perform_without_logging_outages
from sessions_redis.clients.failures import is_refusal_of_scripts
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.storage import probes


def problems() -> Iterator[CheckMessage]:
    """
    An error if the server runs no scripts. Nothing if it cannot be reached: that is another error.
    """
    try:
        perform_without_logging_outages(probes.runs_scripts())
    except SessionStoreUnavailable as error:
        if is_refusal_of_scripts(error.__cause__):
            yield Error(
                str(error),
                'docs/redis.md has the remedies under "A server without Lua scripts".',
                id="sessions_redis.E013",
            )
