"""
The suite's rule for programs that are not installed: the test fails in CI, and is never skipped
there. What counts as a round.
"""

import pytest

from tests.rounds import Rounds
from tests.servers import required


def test_a_missing_program_fails_in_ci(monkeypatch):
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no-such-program is not installed"):
        required("no-such-program")


def test_a_missing_program_skips_elsewhere(monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install no-such-program"):
        required("no-such-program")


def test_a_program_that_is_there():
    assert required("sh").endswith("/sh")


def test_rounds_to_other_servers(server, monkeypatch):
    """Rounds to a server that is not watched do not count."""
    rounds = Rounds([], monkeypatch)
    with server.client() as client:
        assert client.ping()
    assert rounds.count == 0
