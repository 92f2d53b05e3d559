"""
Random sequences of operations on Django's db engine and on ours, compared after each step.

The db engine's result is right. Sequences are synchronous, asynchronous or mixed. They use several
stores, some of which share a session, their entries, or both. The test compares the result or error
of each step, the keys, ``modified``, ``is_empty()``, and the entries that a new store loads of
every session at the end. ``LIKE_EXAMPLES=5000 pytest tests/test_like_db_engine.py`` runs many more.

The test leaves out these cases, in which the two engines differ on purpose:

- Two stores that both change one session. The db engine keeps the last save; this engine keeps the
  changes of both. So if another store has saved the session, a store is opened again before it is
  saved or cycled, unless its entries replace everything.
- ``accessed``: in this engine, each call that reaches Redis sets it, so it may be set earlier.
- A session key after an exception: the db engine may keep one that it has not stored.
- A lifetime below zero, after which the db engine keeps a row that nobody can read.
- ``save(must_create=True)`` under a key that ``cycle_key()`` gave up: it is taken for a while.
- A user: with one in it, ``cycle_key()`` of a session that was ended raises here.
- The order of entries that were loaded.
"""

import copy
import dataclasses
import json
import os
import pickle
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import hypothesis
import pytest
from django.contrib.sessions.backends import db
from django.utils.crypto import get_random_string
from hypothesis import given
from hypothesis import strategies as st

from sessions_redis import engine
from tests.side_by_side import (
    ON_MAPPINGS,
    Async,
    InThread,
    Sync,
    awaited_outcome,
    comparable,
    outcome,
)

EXAMPLES = int(os.environ.get("LIKE_EXAMPLES", "0"))

# A slow machine is not a failure.
unhurried = hypothesis.settings(
    deadline=None,
    database=None,
    derandomize=not EXAMPLES,
    max_examples=EXAMPLES or 80,
    # Finding a shorter sequence takes minutes. Only a developer who asked for more examples needs
    # it.
    phases=set(hypothesis.Phase) - ({hypothesis.Phase.shrink} if not EXAMPLES else set()),
    suppress_health_check=list(hypothesis.HealthCheck),
)

DONE = ("returned", None)

keys = st.sampled_from("aaabbc") | st.sampled_from(
    ["@a", "", "é\ud800", 1, "1", True, "true", None, "null", 1.5, "1.5", (1,)]
)
scalars = st.sampled_from([0, 1, True, None, "x", 2.5, "long" * 100, 2**70, "\ud800"])
values = (
    scalars
    | st.lists(scalars, max_size=2)
    | st.dictionaries(st.sampled_from(["x", "1", 1]), scalars, max_size=2)
    | st.builds(lambda value: [{"deep": [value]}], scalars)
    | st.builds(lambda value: (value, 1), scalars)
    | st.builds(lambda: {1})  # no serializer accepts a set
)
EXPIRIES = [None, 0, 300, 86_400, datetime(2100, 1, 1, tzinfo=UTC)]

# Operations of a store, by the name of its method, with their arguments.
ON_STORES = {
    "get": lambda step: (step.key,),
    "__setitem__": lambda step: (step.key, step.value),
    "__delitem__": lambda step: (step.key,),
    "__contains__": lambda step: (step.key,),
    "pop": lambda step: (step.key,),
    "setdefault": lambda step: (step.key, step.value),
    "update": lambda step: ({step.key: step.value, "b": 0},),
    "has_key": lambda step: (step.key,),
    "keys": lambda step: (),
    "values": lambda step: (),
    "items": lambda step: (),
    "clear": lambda step: (),
    "is_empty": lambda step: (),
    "set_expiry": lambda step: (EXPIRIES[step.number % len(EXPIRIES)],),
    "get_expire_at_browser_close": lambda step: (),
    "set_test_cookie": lambda step: (),
    "test_cookie_worked": lambda step: (),
    "delete_test_cookie": lambda step: (),
    "load": lambda step: (),
    "save": lambda step: (),
    "create": lambda step: (),
    "cycle_key": lambda step: (),
    "flush": lambda step: (),
    "delete": lambda step: (),
}
# After these, the store has the entries that are stored under its key.
WRITES = {"save", "save must_create", "create", "cycle_key"}


@dataclass
class Step:
    operation: str
    first: int
    second: int
    key: Any
    value: Any
    number: int
    awaits: bool

    def copied_for(self):
        # Each engine gets a value of its own. Otherwise a change in place would reach both.
        return Step(**{**vars(self), "value": copy.deepcopy(self.value)})


@dataclass(eq=False)
class Handle:
    """One store of each engine, with the same session."""

    db: Any
    ours: Any
    # Whether another store has saved the session since this one loaded it.
    stale: bool = False
    # Whether its entries replace everything, instead of changing loaded ones.
    whole: bool = False

    @property
    def both(self):
        return self.db, self.ours

    @property
    def entries(self):
        return vars(self.db).get("_session_cache")


@dataclass(eq=False)
class Kept:
    """A mapping of each engine that the code still refers to."""

    db: Any
    ours: Any
    owner: Handle | None = None
    stale: bool = False


@dataclass
class Pair:
    """Some sessions in both engines, and the steps that are taken with them."""

    kind: Any
    handles: list[Handle] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    keys: dict[str | None, str | None] = field(default_factory=lambda: {None: None})
    cycled: set[str] = field(default_factory=set)

    def __post_init__(self):
        self.handles = [self.opened(None) for _ in range(3)]
        for number, handle in enumerate(self.handles[:2]):
            for store in handle.both:
                store.update({"a": [number], "b": {"x": "long" * 100}, "1": None})
                store.save()
            self.keys[handle.db.session_key] = handle.ours.session_key
        self.handles[0] = self.opened(self.handles[0].db.session_key)
        self.kept = [Kept({}, {}) for _ in range(2)]
        self.keys[get_random_string(32)] = get_random_string(32)  # of no session

    def opened(self, key):
        return Handle(db.SessionStore(key), engine.SessionStore(self.keys[key]))

    async def take(self, steps):
        for step in steps:
            self.world = self.kind(step)
            handle = self.handles[step.first]
            if step.operation in WRITES and handle.stale and not handle.whole:
                self.handles[step.first] = handle = self.opened(handle.db.session_key)
            before = handle.db.session_key
            theirs, ours = await self.taken(step, handle)
            assert ours == theirs, step
            self.after(step, self.handles[step.first], before, raised=theirs[0] == "raised")
            self.compare()
        await self.compare_stored()

    async def taken(self, step, handle):
        if step.operation in ON_STORES:
            given = ON_STORES[step.operation]
            return await self.on_both(
                handle, step, lambda s, own: self.world.call(s, step.operation, *given(own))
            )
        if step.operation.startswith("_session: "):
            return await self.on_mappings(handle, step, ON_MAPPINGS[step.operation[10:]])
        return await getattr(self, STRUCTURE[step.operation])(step, handle)

    @staticmethod
    async def on_both(handle, step, call):
        return [await awaited_outcome(call(store, step.copied_for())) for store in handle.both]

    async def on_mappings(self, handle, step, function):
        mappings = [await self.world.mapping_of(store) for store in handle.both]
        return self.applied(step, mappings, function)

    @staticmethod
    def applied(step, mappings, function):
        return [
            outcome(function, mapping, own.key, own.value)
            for mapping in mappings
            for own in [step.copied_for()]
        ]

    # Steps of more than one call

    async def save_must_create(self, step, handle):
        if handle.db.session_key in self.cycled:
            return DONE, DONE
        return await self.on_both(handle, step, lambda s, _: self.world.call(s, "save", True))

    async def exists(self, step, handle):
        """Whether the session of another store exists."""
        key = self.handles[step.second].db.session_key
        return [
            await awaited_outcome(self.world.call(handle.db, "exists", key)),
            await awaited_outcome(self.world.call(handle.ours, "exists", self.keys[key])),
        ]

    async def delete_other(self, step, handle):
        """Delete the session of another store."""
        key = self.handles[step.second].db.session_key
        return [
            await awaited_outcome(self.world.call(handle.db, "delete", key)),
            await awaited_outcome(self.world.call(handle.ours, "delete", self.keys[key])),
        ]

    async def encode(self, step, handle):
        """Encode all entries, and decode them again."""
        results = []
        for store in handle.both:
            mapping = await self.world.mapping_of(store)
            results.append(outcome(lambda s, m: s.decode(s.encode(m)), store, mapping))
        return results

    async def popitem(self, step, handle):
        """Remove the last entry. If the order differs, the one that is last in the db engine."""
        theirs, ours = [await self.world.mapping_of(store) for store in handle.both]
        last = [*theirs][-1:]
        in_order = last == [*ours][-1:]
        pop = ours.popitem if in_order else lambda: (*last, ours.pop(*last))
        return [outcome(theirs.popitem), outcome(pop)]

    async def open(self, step, handle):
        """Open another store with the same key."""
        self.handles[step.second] = self.opened(handle.db.session_key)
        return DONE, DONE

    async def copy_store(self, step, handle):
        return self.copied(step, handle, copy.copy)

    async def deepcopy_store(self, step, handle):
        return self.copied(step, handle, copy.deepcopy)

    async def pickle_store(self, step, handle):
        return self.copied(step, handle, lambda store: pickle.loads(pickle.dumps(store)))

    def copied(self, step, handle, function):
        copied = Handle(*map(function, handle.both), handle.stale, handle.whole)
        self.handles[step.second] = copied
        return DONE, DONE

    async def unload(self, step, handle):
        """Forget the loaded entries, so that they are loaded again."""
        for store in handle.both:
            if hasattr(store, "_session_cache"):
                del store._session_cache
        handle.stale = handle.whole = False
        return DONE, DONE

    async def key_by_hand(self, step, handle):
        """Set another key by hand."""
        found = list(self.keys)
        key = found[step.number % len(found)]
        if key != handle.db.session_key:
            handle.db._session_key, handle.ours._session_key = key, self.keys[key]
            handle.whole, handle.stale = handle.entries is not None, False
        return DONE, DONE

    async def keep(self, step, handle):
        """Keep a reference to the entries of the store, obtained in one of several ways."""
        how = KEEPING[step.number // 2 % len(KEEPING)]
        if how is None:
            kept = [await self.world.call(store, "load") for store in handle.both]
        else:
            kept = [how(await self.world.mapping_of(store)) for store in handle.both]
        stale = handle.stale and how is not None
        self.kept[step.number % 2] = Kept(*kept, handle, stale)
        return outcome(lambda: kept[0]), outcome(lambda: kept[1])

    async def keep_dict(self, step, handle):
        """Keep a reference to a new dictionary."""
        self.kept[step.number % 2] = Kept(
            *({own.key: own.value} for own in [step.copied_for(), step.copied_for()])
        )
        return DONE, DONE

    async def assign(self, step, handle):
        """Give a store the mapping that was kept."""
        kept = self.kept[step.number % 2]
        own = kept.owner is handle
        handle.stale, handle.whole = (kept.stale, False) if own else (False, True)
        handle.db._session_cache, handle.ours._session_cache = kept.db, kept.ours
        return DONE, DONE

    async def use_kept(self, step, handle):
        """Do something with the mapping that was kept."""
        kept = self.kept[step.number % 2]
        function = list(ON_MAPPINGS.values())[step.number // 2 % len(ON_MAPPINGS)]
        return self.applied(step, [kept.db, kept.ours], function)

    # Comparisons

    def after(self, step, handle, before, *, raised):
        theirs, ours = handle.db.session_key, handle.ours.session_key
        if raised and (theirs != before or ours != self.keys[before]):
            self.handles[step.first] = self.opened(before)
        elif theirs not in self.keys and ours not in self.keys.values():
            self.keys[theirs] = ours
        if step.operation == "cycle_key" and not raised:
            self.cycled.add(before)
        if step.operation in WRITES and not raised:
            handle.stale = handle.whole = False
            for other in self.handles:
                if other is not handle and other.db.session_key == theirs:
                    other.stale |= other.entries is not None and other.entries is not handle.entries
            for kept in self.kept:
                owned = kept.owner is not None and kept.owner.db.session_key == theirs
                kept.stale |= owned and handle is not kept.owner and kept.db is not handle.entries
        if step.operation in {"clear", "flush"}:
            handle.whole = True

    def compare(self):
        for handle in self.handles:
            theirs, ours = handle.both
            assert ours.session_key == self.keys[theirs.session_key]
            assert ours.modified == theirs.modified
            assert ours.is_empty() == theirs.is_empty()
            assert ours.accessed >= theirs.accessed
            assert hasattr(ours, "_session_cache") == hasattr(theirs, "_session_cache")

    async def compare_stored(self):
        for theirs, ours in self.keys.items():
            stores = db.SessionStore(theirs), engine.SessionStore(ours)
            expected, found = [
                await awaited_outcome(self.world.mapping_of(store)) for store in stores
            ]
            assert found == expected, "loaded in the end"
        for handle in self.handles:
            entries = getattr(handle.ours, "_session_cache", None)
            assert comparable(entries) == comparable(handle.entries), "held in the end"


KEEPING = [
    lambda mapping: mapping,
    copy.copy,
    copy.deepcopy,
    lambda mapping: mapping.copy(),
    dict,
    lambda mapping: mapping | {},
    lambda mapping: pickle.loads(pickle.dumps(mapping)),
    None,  # load()
    None,
]

# By name, so that each operation is drawn as often as the others.
STRUCTURE = {
    "save must_create": "save_must_create",
    "exists": "exists",
    "delete other": "delete_other",
    "encode": "encode",
    "popitem": "popitem",
    "open": "open",
    "copy": "copy_store",
    "deepcopy": "deepcopy_store",
    "pickle": "pickle_store",
    "unload": "unload",
    "key by hand": "key_by_hand",
    "keep": "keep",
    "keep dict": "keep_dict",
    "assign": "assign",
    "use kept": "use_kept",
}

# Sequences that random steps rarely produce.
SEVERAL = {
    "restore": ["keep", "_session: []=", "_session: nested", "save", "assign", "save"],
    "restore removed": ["keep", "__delitem__", "save", "assign", "save"],
    "restore cleared": ["keep", "clear", "save", "assign", "save"],
    "give": ["keep", "elsewhere assign", "elsewhere __setitem__", "elsewhere save"],
    "copy and create": ["copy", "elsewhere create", "elsewhere __setitem__", "elsewhere save"],
    "copy and change": ["deepcopy", "__setitem__", "save", "elsewhere save"],
    "other key": ["get", "key by hand", "save"],
    "other key, cycled": ["get", "key by hand", "cycle_key"],
    "set and remove": ["__setitem__", "save", "__delitem__", "save"],
    "one text": ["set its text", "__setitem__", "save", "set its text", "save"],
}


def text_of(key):
    """The text to which JSON converts a key."""
    return key if isinstance(key, str | tuple) else next(iter(json.loads(json.dumps({key: 0}))))


def taken_apart(step):
    """The steps for which this one stands. Those of another session use the second store."""
    for operation in SEVERAL.get(step.operation, [step.operation]):
        if operation == "set its text":
            yield dataclasses.replace(step, operation="__setitem__", key=text_of(step.key))
        elif operation.startswith("elsewhere"):
            yield dataclasses.replace(
                step, operation=operation[10:], first=step.second, second=step.second
            )
        else:
            yield dataclasses.replace(step, operation=operation)


operations = (
    st.sampled_from(["save", "save", "save", "cycle_key", "create", "save must_create"])
    | st.sampled_from(["__setitem__", "__delitem__", "_session: nested", "_session: pop", "clear"])
    | st.sampled_from(["keep", "assign", "copy", "deepcopy", "key by hand", "unload", "open"])
    | st.sampled_from([*SEVERAL])
    | st.sampled_from([*STRUCTURE, *ON_STORES])
    | st.sampled_from([f"_session: {name}" for name in ON_MAPPINGS])
)
handles = st.sampled_from([0, 0, 0, 1, 2])


def chained(lists):
    return [part for steps in lists for step in steps for part in taken_apart(step)]


step = st.builds(
    Step, operations, handles, handles, keys, values, st.integers(0, 199), st.booleans()
)
# A list of lists becomes longer than a plain list, and can be shortened as easily.
steps = st.lists(st.lists(step, max_size=6), max_size=12).map(chained).filter(bool)

SYNC, ASYNC, IN_THREAD = Sync(), Async(), InThread()


@pytest.fixture
def database(db):
    """Django's engine runs under its own name here, not under that of this engine."""


@pytest.mark.usefixtures("database")
@unhurried
@given(steps)
def test_synchronous_sequences(steps):
    """Synchronous code gets the same results from this engine and from Django's."""
    SYNC.run(Pair(lambda step: SYNC).take, steps)


@pytest.mark.usefixtures("database")
@unhurried
@given(steps)
def test_asynchronous_sequences(steps):
    """Asynchronous code gets the same results from this engine and from Django's."""
    ASYNC.run(Pair(lambda step: ASYNC).take, steps)


@pytest.mark.usefixtures("database")
@unhurried
@given(steps)
def test_mixed_sequences(steps):
    """Code that is partly asynchronous gets the same results as well."""
    ASYNC.run(Pair(lambda step: ASYNC if step.awaits else IN_THREAD).take, steps)
