"""
All sessions move at once while the site runs and its visitors are busy.

``make moving`` does the same with many more sessions, and measures it.
"""

import signal

import pytest

from tests.listed import expect_listed
from tests.moving_site.sites import Site
from tests.servers import wait_until

SESSIONS, USERS, EACH = 400, 4, 6


@pytest.fixture
def site(tmp_path, server, prefix):
    return Site(tmp_path, "db", server.url, prefix, server.url)


def test_killed_and_begun_again(site, raw, prefix):
    """It may be interrupted and killed: nobody is signed out, and no update is lost."""
    visitors = site.prepare(SESSIONS, USERS, EACH)
    slowly = ("--batch", "20", "--rate", "60")

    def here():
        return raw.zcard(f"{prefix}:index")

    with site.visited(visitors, pause=0.02, news=0.1) as outcome:
        for sign in (signal.SIGINT, signal.SIGKILL):
            process = site.migrate(*slowly)
            before = here()
            wait_until(lambda: here() > before + 60, "sessions move")  # noqa: B023
            process.send_signal(sign)
            said, _ = process.communicate()
            if sign == signal.SIGINT:
                assert "Interrupted.\nSo far:\n" in said
                assert "Run the command again" in said
                assert process.returncode == 130
        process = site.migrate()
        said, _ = process.communicate()
        assert process.returncode == 0, said
    assert outcome.answers > 2 * USERS * EACH  # which look at all sessions at the end
    assert (outcome.signed_out, outcome.lost, outcome.otherwise) == (0, 0, {})
    assert here() == SESSIONS
    expect_listed(raw, prefix)
    checked, _ = site.migrate("--check").communicate()
    assert "           0 can move\n" in checked
    assert "WRONG" not in checked
