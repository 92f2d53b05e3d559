"""The names of keys in Redis. Pure, as `commands`."""

from dataclasses import dataclass

from sessions_redis.storage.events import quoted


@dataclass(frozen=True, slots=True)
class Keyspace:
    """
    The names in Redis. ``indexed``: whether the indexes are kept.

    ``tenant``: what ``KEY_PREFIX`` returned for the tenant that has these names; ``None`` if it is
    not a function.

    ``is_spread``: the keys are in different slots of a Cluster, so no script sees two of them.
    ``shards``: then the indexes of all sessions are split into so many parts.

    ``moves_in``: sessions of a former engine move in, so ended ones leave tombstones here.
    ``is_shared``: the former engine serves the same sessions meanwhile.

    ``has_policies``: writes may carry rules.
    ``events``: a script that ends a session publishes that.
    """

    prefix: str
    indexed: bool = True
    tenant: str | None = None
    is_spread: bool = False
    shards: int = 1
    moves_in: bool = False
    is_shared: bool = False
    has_policies: bool = False
    events: bool = False

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

    def moved(self, session_id: str) -> str:
        """What became of a session that moved in, or ended: in the slot of the session itself."""
        # What is in braces decides the slot. Without them, it would be the whole name.
        name = f"{{{self.session(session_id)}}}" if self.is_spread else session_id
        return f"{self.prefix}:moved:{name}"

    def signed_out(self, user_pk: str) -> str:
        """The note that all sessions of a user were ended: none of them moves in any more."""
        return f"{self.prefix}:signed-out:{user_pk}"

    @property
    def ended_channel(self) -> str:
        """Where ended sessions are published."""
        return f"{self.prefix}:ended"

    def announcing(self, reason: str) -> tuple[str, ...]:
        """What scripts that end sessions need to publish that; nothing if they do not."""
        # A space separates the parts of a message, so the reason must have none.
        return (self.ended_channel, quoted(reason)) if self.events else ()

    @property
    def moved_sample(self) -> str:
        """A few of the sessions that have moved in, to compare them afterwards."""
        return f"{self.prefix}:moved-sample"
