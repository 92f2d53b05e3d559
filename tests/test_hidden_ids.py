"""A visitor cannot find out whether a session ID or key that is not theirs exists."""

import re
from functools import partial
from statistics import median
from time import perf_counter

import pytest
from django.contrib.auth.models import User

from sessions_redis.engine import SessionStore
from tests.cluster_model import new_id
from tests.site import id_of, signed_in_browser, use_site

PAGE = "/account/sessions/"
API = "/api/sessions/"

# Requests of each kind, in turn. So a machine that is busy for a moment slows all kinds down alike.
ROUNDS = 150

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def site(settings, session_redis):
    use_site(settings)


@pytest.fixture
def browser():
    return partial(signed_in_browser, page=PAGE)(User.objects.create_user("ada"))


@pytest.fixture
def foreign():
    """The ID of another user's session."""
    return id_of(partial(signed_in_browser, page=PAGE)(User.objects.create_user("bob")))


def seen(response):
    """What the visitor gets, without what differs with each request."""
    body = re.sub(rb'name="csrfmiddlewaretoken" value="\w+"', b"", response.content)
    return response.status_code, sorted(response.headers.items()), body


REQUESTS = {
    "ask": lambda browser, id: browser.get(f"{PAGE}{id}/end/"),
    "end": lambda browser, id: browser.post(f"{PAGE}{id}/end/"),
    "end by API": lambda browser, id: browser.delete(f"{API}{id}"),
}


def commands(raw):
    """How often the server has carried out each command, except for this question."""
    stats = raw.info("commandstats").items()
    return {name: counts["calls"] for name, counts in stats if name != "cmdstat_info"}


@pytest.mark.parametrize("request_to", REQUESTS.values(), ids=REQUESTS)
def test_unknown_and_foreign_ids(browser, foreign, raw, request_to):
    """The answers are the same, after the same commands."""
    ids = {"unknown": new_id(), "foreign": foreign}
    request_to(browser, foreign)  # the first request notes that the session is in use
    answers, sent = {}, {}
    for kind, id in ids.items():
        before = commands(raw)
        answers[kind] = seen(request_to(browser, id))
        sent[kind] = {name: n - before.get(name, 0) for name, n in commands(raw).items()}
    assert answers["unknown"][0] == 404
    assert answers["unknown"] == answers["foreign"]
    assert sent["unknown"] == sent["foreign"]


def test_the_time_of_unknown_and_foreign_ids(browser, foreign):
    """The answers take the same time."""
    unknown, times = new_id(), {"unknown": [], "foreign": []}
    for _ in range(ROUNDS):
        for kind, id in {"unknown": unknown, "foreign": foreign}.items():
            began = perf_counter()
            REQUESTS["end by API"](browser, id)
            times[kind].append(perf_counter() - began)
    ratio = median(times["foreign"]) / median(times["unknown"])
    assert 2 / 3 < ratio < 3 / 2


def test_keys_are_looked_up_by_their_digest(raw, prefix):
    """Redis gets no part of a session key, so nobody learns a key from how long a look-up takes."""
    store = SessionStore("0" * 31 + "1")
    with raw.monitor() as monitor:
        store.load()
        raw.echo("done")
        sent = []
        while "done" not in (command := monitor.next_command()["command"]):
            sent.append(command)
    assert sent
    assert not any("0" * 31 in command for command in sent)
