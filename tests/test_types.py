"""``nox -s typing`` checks the folder ``tests/typing`` with mypy and pyright."""

import tomllib

import pytest

from sessions_redis.engine import SessionStore
from sessions_redis.requests import SessionHttpRequest
from tests.documents import ROOT, blocks, section, text_of

FOLDER = ROOT / "tests" / "typing"
DOCUMENTED = blocks(section(text_of("docs/sessions.md"), "## Types"), "python")


EXAMPLES = list(zip(["example", "signed_in"], DOCUMENTED, strict=True))


@pytest.mark.parametrize(("name", "block"), EXAMPLES)
def test_the_examples_of_the_docs_are_checked(name, block):
    """Type checkers read the same lines as people."""
    assert (FOLDER / f"{name}.py").read_text() == block


def test_a_request_for_annotations():
    """It names the engine's session, and has nothing else that Django's request does not have."""
    own = {name for name in vars(SessionHttpRequest) if not name.startswith("__")}
    assert own == set()
    assert SessionHttpRequest.__annotations__ == {"session": SessionStore}


def test_wrong_uses_are_checked():
    """A wrong use names the error of each checker, and each checker fails if it finds none."""
    _, _, wrong = (FOLDER / "views.py").read_text().partition("\n# Wrong\n")
    silenced = [line for line in wrong.splitlines() if "# type: ignore[" in line]
    assert len(silenced) > 10
    assert [line for line in silenced if "# pyright: ignore[" not in line] == []
    checked = tomllib.loads((FOLDER / "pyproject.toml").read_text())["tool"]
    assert checked["mypy"]["strict"]
    assert checked["pyright"]["reportUnnecessaryTypeIgnoreComment"] == "error"
    assert not checked["pyright"]["enableTypeIgnoreComments"]
