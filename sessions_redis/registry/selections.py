"""Which sessions to list, and the indexes that list them."""

from dataclasses import dataclass
from math import inf

from django.core.exceptions import ImproperlyConfigured

from sessions_redis import conf
from sessions_redis.storage.keyspaces import Keyspace


@dataclass(frozen=True, slots=True)
class Selection:
    """
    Which sessions to list, and in which order.

    ``signed_in``: only sessions with a user, only those without, or all (``None``). ``within``:
    only sessions that expire within this many seconds. ``users``: only sessions of users with these
    primary keys, as text. ``latest_first``: by expiry, the latest or the soonest first.
    """

    signed_in: bool | None = None
    within: float | None = None
    users: tuple[str, ...] | None = None
    latest_first: bool = True

    @property
    def longest(self) -> float:
        """Seconds that a session may have left at most."""
        return inf if self.within is None else self.within


ALL = Selection()


def indexed() -> Keyspace:
    """The names in Redis. Raises ``ImproperlyConfigured`` if no indexes are kept."""
    keyspace = conf.current().keyspace
    if not keyspace.indexed:
        raise ImproperlyConfigured(
            'Sessions cannot be listed: SESSION_REDIS["INDEX"] is False. Set it to True. Then run '
            "manage.py rebuildindex, which lists all sessions."
        )
    return keyspace


def indexes_of(keyspace: Keyspace, selection: Selection) -> list[str]:
    """The indexes that list the sessions of ``selection``: each user's, or one."""
    if selection.users is not None:
        # No user owns an anonymous session.
        users = dict.fromkeys(selection.users if selection.signed_in is not False else ())
        return [keyspace.user(user_pk) for user_pk in users]
    if selection.signed_in is None:
        return [keyspace.index]
    return [keyspace.signed_in if selection.signed_in else keyspace.anonymous]
