"""Whether the connection to the server is safe from others in the network."""

from collections.abc import Iterator

from django.core import checks
from django.core.checks import CheckMessage

from sessions_redis import conf
from sessions_redis.clients.addresses import Access

ALONE = (
    " If nothing but your own servers can reach that network, you may accept this: add the ID to "
    "SILENCED_SYSTEM_CHECKS."
)


def problems(access: Access) -> Iterator[CheckMessage]:
    """What anybody in the network between this site and a server elsewhere could read or do."""
    where = conf.current().shown_location
    remark = ALONE if access.address.is_in_private_network else ""
    if not access.is_encrypted:
        read = "the sessions and the password of Redis" if access.signs_in else "the sessions"
        yield checks.Warning(
            f"The connection to Redis at {where} is not encrypted. Anyone who can listen to the "
            f"network between can read {read}, and change replies.",
            "Turn on TLS in the server, and write rediss:// in place of redis:// in "
            f'SESSION_REDIS["LOCATION"].{remark}',
            id="sessions_redis.W018",
        )
    if not access.signs_in:
        yield checks.Warning(
            f"This site connects to Redis at {where} without a password. If the server asks nobody "
            "for one, anyone who can reach it can read all sessions, sign in as any user, and "
            "delete everything.",
            "Give this site a user of its own with a password, as docs/redis.md says under "
            '"A restricted user", and write "username" and "password" into '
            f'SESSION_REDIS["OPTIONS"].{remark}',
            id="sessions_redis.W019",
        )
