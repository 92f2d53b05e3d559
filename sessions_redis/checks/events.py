"""Whether the site may publish that sessions end."""

from collections.abc import Iterator

from django.core.checks import CheckMessage, Error

from sessions_redis import conf
from sessions_redis.clients import perform_without_logging_outages
from sessions_redis.clients.failures import is_refusal_of_command
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.storage import probes


def problems() -> Iterator[CheckMessage]:
    """
    An error if ``EVENTS`` is on and the server refuses to publish.

    Nothing if it cannot be reached, which is another error, or if each tenant has its own channel.
    """
    current = conf.current()
    if not current.events or current.tenants is not None:
        return
    channel = current.keyspace.ended_channel
    try:
        perform_without_logging_outages(probes.publishes(channel))
    except SessionStoreUnavailable as error:
        if is_refusal_of_command(error.__cause__):
            yield Error(
                f'{error} SESSION_REDIS["EVENTS"] is True, so no session can be ended without the '
                "command PUBLISH: a visitor who logs out gets an error, and stays signed in.",
                f"Allow the site's Redis user to publish there (+publish &{channel}), or leave "
                '"EVENTS" out. docs/events.md names all permissions.',
                id="sessions_redis.E040",
            )
