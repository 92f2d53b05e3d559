"""
The Lua scripts: each is one atomic step on the server.

Lua in Redis has no ``require``. So this puts the parts that scripts share in front of them: each
script has those that it needs, because each call pays for the functions that a script defines.
"""

from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Script:
    """A script's text, and the name the server knows it by once it has seen it."""

    text: str
    sha: str


# The names of the scripts, for people, by their SHA-1.
NAMES: dict[str, str] = {}


def _script(*names: str) -> Script:
    folder = files(__name__)
    text = "\n".join((folder / f"{name}.lua").read_text("utf-8") for name in names)
    # EVALSHA's name for a script is the SHA-1 of its text; nothing is kept secret by it.
    script = Script(text, sha1(text.encode(), usedforsecurity=False).hexdigest())
    NAMES[script.sha] = names[-1].replace("/", " ")
    return script


_RULES = ("expiring", "field_ttls", "rules")
_WRITING = ("margins", "calls", "list", *_RULES, "announce", "cap", "lifetimes", "write")

CREATE = _script(*_WRITING, "create")
CREATE_BESIDE = _script(*_WRITING, "user", "markers", "create_beside")
SAVE = _script("margins", "renew", *_WRITING[1:], "user", "save")
EXPIRE = _script("calls", "announce", "user", "forget", "expire")
CYCLE = _script(*_WRITING, "user", "cycle")
DELETE = _script("delete_listed", "calls", "announce", "forget", "delete")
INCREMENT = _script("calls", "expiring", "increment")
LOCK = _script("calls", "lock")
UNLOCK = _script("calls", "unlock")
INCREMENT_IF = _script("calls", *_RULES, "allowed", "increment")
INSPECT = _script("calls", "inspect")
NOTE = _script("margins", "calls", "list", "relist", "note")
BIND = _script("calls", "bind")
LIST_MANY = _script("margins", "calls", "list", "relist", "list_many")
PAGE = _script("margins", "calls", "ranks", "page")
COUNT = _script("calls", "count")
DROP = _script("calls", "gone", "drop")
SWEEP = _script("margins", "calls", "ranks", "gone", "sweep")
TRIM = _script("calls", "trim")
NOTE_SHARDS = _script("margins", "calls", "note_shards")
PART = _script("calls", "part")
UNLIST = _script("calls", "unlist")
END_ALL = _script("calls", "announce", "markers", "end_all")
END_MANY = _script("calls", "announce", "forget", "end_many")
ADOPT = _script(*_WRITING, "moved", "adopt")
TOMBSTONE = _script("calls", "moved", "tombstone")
SIGN_OUT = _script("calls", "moved", "sign_out")
SIGNED_OUT = _script("calls", "moved", "signed_out")
SETTLE = _script("calls", "moved", "settle")
UNSHARE = _script("calls", "moved", "unshare")
REMEMBER = _script("calls", "remember")
RESEAL = _script("calls", "reseal")
CAN_EXPIRE = _script("calls", "field_ttls", "can_expire")


def _across(*names: str) -> Script:
    """A script for sessions whose indexes are in other slots. A name with ``/`` is not of these."""
    return _script(*(n.removeprefix("/") if n[0] == "/" else f"across_slots/{n}" for n in names))


_PUTTING = ("/calls", "/expiring", "/field_ttls", "/rules", "/lifetimes", "expiry", "put")

ACROSS_CREATE = _across(*_PUTTING, "create")
ACROSS_SAVE = _across("/margins", "least_margin", *_PUTTING, "save")
ACROSS_INCREMENT = _script("calls", "across_slots/frozen", "expiring", "increment")
ACROSS_INCREMENT_IF = _script("calls", "across_slots/frozen", *_RULES, "allowed", "increment")
ACROSS_LOCK = _script("calls", "across_slots/frozen", "lock")
ACROSS_UNLOCK = _script("calls", "across_slots/frozen", "unlock")
ACROSS_NOTE = _across("/calls", "put", "note")
ACROSS_FREEZE = _across("/calls", "/expiring", "put", "freeze")
ACROSS_THAW = _across("/calls", "thaw")
ACROSS_ABANDON = _across("/calls", "abandon")
ACROSS_LEAVE = _across("/calls", "put", "leave")
ACROSS_BESIDE = _across("/calls", "put", "beside")
ACROSS_END = _across("/calls", "/announce", "end")
ACROSS_LOOK = _across("/calls", "put", "look")
ACROSS_MEMBERS = _across("/calls", "members")
ENLIST = _across("/calls", "scores", "enlist")
RELIST = _across("/calls", "scores", "relist")
LOWER = _across("/calls", "lower")
DELIST = _across("/calls", "delist")
ACROSS_ADOPT = _across(*_PUTTING, "/moved", "adopt")
WITHDRAW = _across("/calls", "withdraw")
ACROSS_FENCE = _across("/calls", "fence")
