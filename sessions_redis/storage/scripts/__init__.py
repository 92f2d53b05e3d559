"""
The Lua scripts: each is one atomic step on the server.

Lua in Redis has no ``require``, so what scripts share (``calls.lua`` all of them, ``index.lua`` and
``write.lua`` those that write) is put in front of them here.
"""

from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Script:
    """A script's text, and the name the server knows it by once it has seen it."""

    text: str
    sha: str


def _script(*names: str) -> Script:
    folder = files(__name__)
    text = "\n".join((folder / f"{name}.lua").read_text("utf-8") for name in ("calls", *names))
    # EVALSHA's name for a script is the SHA-1 of its text; nothing is kept secret by it.
    return Script(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


CREATE = _script("index", "write", "create")
CREATE_BESIDE = _script("index", "write", "create_beside")
SAVE = _script("index", "write", "save")
CYCLE = _script("index", "write", "cycle")
DELETE = _script("index", "delete")
INCREMENT = _script("increment")
INSPECT = _script("inspect")
NOTE = _script("note")
PAGE = _script("page")
COUNT = _script("count")
DROP = _script("drop")
TRIM = _script("trim")
END_ALL = _script("index", "end_all")
END_MANY = _script("index", "end_many")
