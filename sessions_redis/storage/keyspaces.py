"""The names of keys in Redis. Pure, as `commands`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Keyspace:
    """
    The names in Redis. ``indexed``: whether the indexes are kept.

    ``tenant``: what ``KEY_PREFIX`` returned for the tenant that has these names; ``None`` if it is
    not a function.

    ``is_spread``: the keys are in different slots of a Cluster, so no script sees two of them.
    ``shards``: then the indexes of all sessions are split into so many parts.
    """

    prefix: str
    indexed: bool = True
    tenant: str | None = None
    is_spread: bool = False
    shards: int = 1

    def session(self, session_id: str) -> str:
        return f"{self.prefix}:{session_id}"

    @property
    def index(self) -> str:
        return f"{self.prefix}:index"

    @property
    def signed_in(self) -> str:
        """The index of all sessions that have a user."""
        return f"{self.index}:signed-in"

    @property
    def anonymous(self) -> str:
        """The index of all sessions that have none."""
        return f"{self.index}:anonymous"

    def index_of(self, session_id: str) -> str:
        """The index of all sessions that lists this one."""
        if self.shards == 1:
            return self.index
        return f"{self.index}:{{{int(session_id[:8], 16) % self.shards}}}"

    @property
    def indexes(self) -> list[str]:
        """The indexes of all sessions: as many as there are shards."""
        if self.shards == 1:
            return [self.index]
        return [f"{self.index}:{{{shard}}}" for shard in range(self.shards)]

    @property
    def users(self) -> str:
        """What the name of every user's index starts with; the primary key follows."""
        return f"{self.prefix}:user:"

    def user(self, user_pk: str) -> str:
        return f"{self.users}{user_pk}"
