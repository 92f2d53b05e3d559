"""What the README says is true."""

import re

from benchmarks.engines import by_slug
from benchmarks.lost_updates import PROCESSES, UPDATES
from sessions_redis.engine import SessionStore
from tests.documents import DOCS, blocks, commands, links, section, text_of

README = text_of("README.md")
INSTALL = text_of("docs/install.md")


def test_it_is_short():
    """It fits on a few screens; everything else is in the docs."""
    assert len(README.splitlines()) <= 130


def test_it_leads_to_every_page():
    """Its table names each page of the docs, with a question, and its text links them."""
    linked = links(section(README, "## Documentation"))
    assert {f"docs/{page.name}" for page in DOCS} <= set(linked)


def test_the_commands_that_show_the_race():
    """They name engines that there are, and print lines of that form."""
    block = blocks(section(README, "## Why"), "console")[0]
    found = re.findall(
        r"python -m benchmarks\.lost_updates (\w+)\n(.*) lost (\d+) of (\d+) updates\n", block
    )
    assert [(by_slug(slug).name, total) for slug, _, _, total in found] == [
        (name, str(PROCESSES * UPDATES)) for _, name, _, _ in found
    ]
    assert found[-1][1:3] == ("sessions_redis", "0")


def test_the_three_settings():
    """They are the first of those that the page about installing has."""
    (short,) = blocks(section(README, "## Put it into your site"), "python")
    whole = blocks(section(INSTALL, "## Install"), "python")[0]
    assert len(short.splitlines()) == 3
    assert whole.startswith(short)


def test_the_versions():
    """They are the ones that the page about installing has."""
    least = dict(re.findall(r"(\w+) ≥ ([\d.]+\d)", INSTALL))
    text = " ".join(section(README, "## Put it into your site").split())
    assert f"Django {least['Django']} or newer" in text
    assert f"Redis {least['Redis']} or newer or Valkey {least['Valkey']} or newer" in text


def test_literal_key(live, prefix):
    """A session's key in Redis is the literal one that the README shows, by its prefix."""
    shown = section(README, "## What Redis holds")
    (command,) = [one for one in commands(shown) if "HGETALL" in one]
    literal = re.search(r"HGETALL (session:[0-9a-f]{32})$", command)[1]
    stored = live.inspect()
    assert len(stored.redis_key) - len(prefix) == len(literal) - len("session")
    fields = re.findall(r'^ ?\d+\) "(@?\w+)"$', shown, re.MULTILINE)
    metadata = {field for field in fields if field.startswith("@")}
    assert metadata - set(stored.fields) == {"@ip", "@agent"}  # which the middleware adds


def test_scopes_are_stored_as_the_docs_say(live):
    """The field of a scope's entry is scope:<name>:<key>, in the escapes that are documented."""
    live.scope("noah")["sessionStatus"] = "ACTIVE"
    live.scope("a:b%")["c:d"] = 1
    live.save()
    fields = SessionStore(live.session_key).inspect().fields
    assert fields["scope:noah:sessionStatus"] == '"ACTIVE"'
    assert "scope:a%3Ab%25:c:d" in fields
    assert '"scope:noah:sessionStatus"' in README
