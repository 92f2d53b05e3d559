"""How a session begins in Redis: under a new key, alone or in place of the one that it leaves."""

from django.contrib.sessions.backends.base import CreateError

from sessions_redis import conf
from sessions_redis.base import StoreBase
from sessions_redis.calls import Call, StoreSteps
from sessions_redis.exceptions import GONE, SessionGone
from sessions_redis.keys import Key, random_key
from sessions_redis.storage import commands
from sessions_redis.storage.changes import whole

# New keys tried before giving up. Two of 36**32 do not meet by chance, but a creation that is
# repeated because its reply was lost finds its own key taken.
CREATE_ATTEMPTS = 3


class Leaving:
    """The session ``id``, which ``cycle_key()`` moves. ``is_left``: another one has its entries."""

    __slots__ = ("id", "is_left")

    def __init__(self, id: str) -> None:
        self.id = id
        self.is_left = False


class CreatingStore(StoreBase):
    """A session store that creates sessions."""

    # Set while overridden methods carry out cycle_key().
    _leaving: Leaving | None = None

    def _get_new_session_key(self) -> str:
        # SessionBase asks the server whether the key is taken; creating does that by itself.
        return random_key()

    async def _aget_new_session_key(self) -> str:
        return self._get_new_session_key()

    def _new_key(self) -> Key:
        return Key(self._get_new_session_key())

    async def _anew_key(self) -> Key:
        return Key(await self._aget_new_session_key())

    def _age(self) -> StoreSteps[int]:
        if self._is_overridden("get_expiry_age", "aget_expiry_age"):
            age: int = yield Call("get_expiry_age")
            return age
        return self.get_expiry_age()  # which asks nobody once the session is loaded

    def _creating(self, leaving: Leaving | None = None) -> StoreSteps[None]:
        yield from self._loaded(no_load=True)
        for _ in range(CREATE_ATTEMPTS):
            new: Key = yield Call("_new_key")
            if (yield from self._created(new, leaving or self._leaving)):
                self.modified = True
                return
        raise RuntimeError(
            f"{CREATE_ATTEMPTS} new session keys in a row were taken. Is the system's source of "
            "randomness broken?"
        )

    def _created(self, new: Key, leaving: Leaving | None) -> StoreSteps[bool]:
        """Whether the session is in Redis under the key ``new``, which it has then."""
        if self._is_overridden("save", "asave"):
            return (yield from self._created_by_save(new))
        if not (yield from self._beginning(new.id, leaving)):
            return False
        self._session_key = new.session_key
        return True

    def _created_by_save(self, new: Key) -> StoreSteps[bool]:
        former = None if self.session_key is None else Key(self.session_key)
        self._session_key = new.session_key
        saved = False
        try:
            yield Call("save", must_create=True)
            saved = True
        except CreateError:
            pass
        finally:
            # An overridden save() may raise after it has written the session under the new key.
            if not saved and self._known.id != new.id:
                self._session_key = None if former is None else former.session_key
        return saved

    def _beginning(self, id: str, leaving: Leaving | None = None) -> StoreSteps[bool]:
        """
        Write a new hash for the session ``id``. ``False`` if there is one already.

        If there is a session that is ``leaving``, its fields move to the new hash.
        """
        if leaving and (yield from self._moving(id, leaving)):
            leaving.is_left = True
            return True
        age = yield from self._age()
        changes = whole(self._entries, self.serializer(), self.metadata_source())
        created: bool = yield commands.create(conf.current().keyspace, id, age, changes)
        if created:
            self._settle(id, changes)
        return created

    def _moving(self, id: str, leaving: Leaving) -> StoreSteps[bool]:
        """``False`` if the session that is ``leaving`` is gone, and had no user."""
        age = yield from self._age()
        known, serializer = self._known_of(leaving.id), self.serializer()
        changes = known.changes(self._entries, serializer, self.metadata_source())
        keyspace = conf.current().keyspace
        moved: bool = yield commands.cycle(keyspace, leaving.id, id, age, changes)
        if moved:
            self._settle(id, changes, leaving.id)
            return True
        user = known.user(serializer)
        if not user:
            return False
        # A session of its own, where another request has cycled that session meanwhile.
        changes = whole(self._entries, serializer, self.metadata_source())
        command = commands.create_beside(keyspace, leaving.id, user, id, age, changes)
        if not (yield command):
            raise SessionGone(GONE)
        self._settle(id, changes)
        return True
