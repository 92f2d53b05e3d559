"""``manage.py endsessions --all`` ends all sessions of the site, after a question."""

import builtins
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from sessions_redis import registry
from sessions_redis.signals import session_ended
from sessions_redis.storage import listings
from tests.servers import Server, free_port
from tests.test_commands_management import run
from tests.test_registry import started
from tests.test_registry_steps import MANY
from tests.test_registry_steps import started as started_many


class Terminal(StringIO):
    def isatty(self):
        return True


@pytest.fixture
def answer(monkeypatch):
    """``answer(text)`` is what the user types. Returns the questions."""

    def type_in(text):
        questions = []

        def ask(question):
            questions.append(question)
            if text is None:
                raise EOFError
            return text

        monkeypatch.setattr(builtins, "input", ask)
        return questions

    return type_in


def test_all(answer):
    """Sessions of all visitors end, and the output has their number."""
    asked = answer("no")
    started("1"), started("2"), started()
    assert run("endsessions", "--all", "--no-input") == "3 sessions ended\n"
    assert registry.count() == 0
    assert run("endsessions", "--all", "--noinput") == "There are no sessions to end.\n"
    assert asked == []


def test_the_question(answer, server, prefix):
    """The command says what it will end, and ends nothing without the answer "yes"."""
    asked = answer("no")
    started("1"), started()
    assert run("endsessions", "--all") == "Canceled. No session was ended.\n"
    assert registry.count() == 2
    text = " ".join(asked[0].split())
    assert f"This ends about 2 sessions in {server.url} with the key prefix '{prefix}'" in text
    assert "visitors who are not signed in" in text
    assert text.endswith("Type 'yes' to continue, or 'no' to cancel:")
    answer("yes")
    assert run("endsessions", "--all") == "2 sessions ended\n"
    assert registry.count() == 0


def test_nobody_to_ask(answer):
    """Without a terminal, the error names the option."""
    answer(None)
    started()
    with pytest.raises(CommandError, match="--no-input"):
        run("endsessions", "--all")
    assert registry.count() == 1


@pytest.mark.parametrize("more", [["ada"], ["--all-but-newest"]])
def test_what_does_not_fit(more):
    """Together with users, it ends nothing."""
    started()
    with pytest.raises(CommandError, match="cannot be combined"):
        run("endsessions", "--all", "--no-input", *more)
    assert registry.count() == 1


def test_the_bar():
    """In a terminal there is a progress bar, unless the command is to be quiet."""
    shown = {}
    for verbosity in (0, 1):
        started("1"), started()
        out = Terminal()
        call_command("endsessions", "--all", "--no-input", verbosity=verbosity, stdout=out)
        shown[verbosity] = out.getvalue()
    assert shown[0] == "2 sessions ended\n"
    assert "2.00/2.00" in shown[1]
    assert shown[1].endswith("2 sessions ended\n")


def test_without_an_index(settings, session_redis):
    """Sessions that cannot be listed are an error message."""
    settings.SESSION_REDIS = {**session_redis, "INDEX": False}
    with pytest.raises(CommandError, match="Set it to True"):
        run("endsessions", "--all", "--no-input")


def test_redis_is_away(settings, session_redis):
    """The error says that nothing ended."""
    settings.SESSION_REDIS = {**session_redis, "LOCATION": f"redis://127.0.0.1:{free_port()}"}
    with pytest.raises(CommandError, match="No session was ended") as caught:
        run("endsessions", "--all", "--no-input")
    assert "may have ended" not in str(caught.value)


def test_redis_goes_away_midway(settings, session_redis, tmp_path):
    """The error says how many ended before, and that the command can be repeated."""
    server = Server(tmp_path)
    settings.SESSION_REDIS = {**session_redis, "LOCATION": server.url}

    def go_away(**kwargs):
        if server.process.poll() is None:
            server.stop()

    started_many(MANY)
    session_ended.connect(go_away)
    try:
        with pytest.raises(CommandError, match="run the command again") as caught:
            run("endsessions", "--all", "--no-input")
    finally:
        session_ended.disconnect(go_away)
        server.stop()
    assert f" {listings.END_MANY_BATCH_SIZE} sessions ended before that." in str(caught.value)


def test_sessions_that_have_not_moved_in(settings, session_redis):
    """While sessions move in, the command says that those which have not moved can still do so."""
    former = "django.contrib.sessions.backends.cache"
    settings.SESSION_REDIS = {**session_redis, "FORMER_ENGINE": former}
    started()
    assert f"have not moved in from {former} yet" in run("endsessions", "--all", "--no-input")
