"""A reply that is lost while sessions are ended: they may have been, which is said and logged."""

import asyncio

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.management import CommandError

from sessions_redis import conf, registry
from sessions_redis.clients import pools
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.signals import session_ended
from sessions_redis.storage import listings, scripts
from tests.proxy import Proxy
from tests.section import own_id, said_by, signed_in, text_of, url, use_section
from tests.servers import Server, free_port
from tests.site import id_of, signed_in_browser
from tests.test_commands_management import run

ENDING = (scripts.DELETE.sha, scripts.END_ALL.sha, scripts.END_MANY.sha)
YES = {"post": "yes", "own": "yes"}
SELECTED = {"action": "delete_selected", "_selected_action": [""], **YES}
MAYBE = "May have been ended: the reply from Redis was lost."
LIST = "/account/sessions/"

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def proxy(settings, session_redis, server):
    """Between the site and a server that knows the scripts."""
    use_section(settings)
    with Proxy(server.port) as proxy:
        settings.SESSION_REDIS = {**session_redis, "LOCATION": proxy.url}
        registry.end("0" * 32)
        registry.end_many(["0" * 32])
        registry.end_all_of("nobody")
        yield proxy
        proxy.losing = ()


@pytest.fixture
def ada():
    return User.objects.create_user("ada")


def logged():
    return {entry.object_id: said_by(entry) for entry in LogEntry.objects.all()}


def lose(proxy, spared=0):
    """Lose the replies to what ends sessions, but for the first ones."""
    proxy.losing, proxy.spared = ENDING, spared


def lost(client, proxy, page, form=YES, *, spared=0):
    """The text of the page that answers where the reply was lost."""
    lose(proxy, spared)
    response = client.post(page, form)
    proxy.losing = ()
    assert (response.status_code, response["Retry-After"]) == (503, "5")
    assert "Redis stopped responding while sessions were being ended." in text_of(response)
    assert "The sessions are still there" not in text_of(response)
    return text_of(response)


# The admin


def test_one(admin_client, proxy, ada):
    """The page and the log say that it may have been ended; it was."""
    id = signed_in(ada)
    text = lost(admin_client, proxy, url("delete", id))
    assert "1 session may have been ended: the reply from Redis was lost." in text
    assert logged() == {id: MAYBE}
    assert registry.find(id) is None
    assert MAYBE in text_of(admin_client.get(url("history", id)))


def test_selected(admin_client, proxy, ada):
    """So they do for each of those selected."""
    ids = [signed_in(ada), signed_in()]
    text = lost(admin_client, proxy, url(), {**SELECTED, "_selected_action": ids})
    assert "2 sessions may have been ended" in text
    assert logged() == dict.fromkeys(ids, MAYBE)
    assert registry.find_many(ids) == []


def test_across_pages(admin_client, proxy, monkeypatch):
    """Batches that were ended before are logged as that; those that follow are left."""
    monkeypatch.setattr("sessions_redis.admin.listing.END_MANY_BATCH_SIZE", 2)
    ids = [signed_in(seconds=1000 - 100 * number) for number in range(5)]
    form = {**SELECTED, "select_across": "1"}
    text = lost(admin_client, proxy, f"{url()}?signed_in=no", form, spared=1)
    assert "2 sessions were ended. They are in the admin log." in text
    assert "2 sessions may have been ended" in text
    said = "Ended, together with other selected sessions."
    assert logged() == dict.fromkeys(ids[:2], said) | dict.fromkeys(ids[2:4], MAYBE)
    assert [session.id for session in registry.find_many(ids)] == ids[4:]


def test_all_of_a_user(admin_client, proxy, ada, monkeypatch):
    """The same, where a user has more than are ended at once."""
    monkeypatch.setattr("sessions_redis.admin.listing.END_MANY_BATCH_SIZE", 2)
    ids = [signed_in(ada, seconds=1000 - 100 * number) for number in range(5)]
    text = lost(admin_client, proxy, url("end_all", ada.pk), spared=1)
    assert "2 sessions were ended." in text
    assert "2 sessions may have been ended" in text
    said = "Ended, together with all sessions of the user."
    assert logged() == dict.fromkeys(ids[:2], said) | dict.fromkeys(ids[2:4], MAYBE)


def test_more_than_one_command_ends(admin_client, settings, session_redis, proxy):
    """The log says of those alone that they may have been ended that a command was sent for."""
    proxied, settings.SESSION_REDIS = settings.SESSION_REDIS, session_redis
    ids = [signed_in(seconds=10_000 - number) for number in range(1001)]
    settings.SESSION_REDIS = proxied
    form = {**SELECTED, "select_across": "1"}
    text = lost(admin_client, proxy, f"{url()}?signed_in=no", form, spared=1)
    left = {session.id for session in registry.find_many(ids)}
    said = list(logged().values())
    assert 0 < len(left) == 1001 - len(said)
    assert f"{len(said) - said.count(MAYBE)} sessions were ended." in text
    assert f"{said.count(MAYBE)} sessions may have been ended" in text
    assert not left & logged().keys()


def test_the_rest_of_a_user(admin_client, proxy, ada):
    """After those that are known it ends any others, and nobody knows whether there were any."""
    id = signed_in(ada)
    text = lost(admin_client, proxy, url("end_all", ada.pk), spared=1)
    assert "1 session was ended. It is in the admin log." in text
    assert "Sessions that began in the meantime may have been ended" in text
    assert logged() == {id: "Ended, together with all sessions of the user."}


@pytest.mark.parametrize("way", ["one", "selected"])
def test_ones_own_session(admin_client, proxy, way):
    """Who ended the session of that very browser is told, and has to sign in again."""
    own = own_id(admin_client)
    page, form = {
        "one": (url("delete", own), YES),
        "selected": (url(), {**SELECTED, "_selected_action": [own]}),
    }[way]
    assert "1 session may have been ended" in lost(admin_client, proxy, page, form)
    assert logged() == {own: MAYBE}
    assert admin_client.get(url()).url.startswith("/admin/login/")


def test_a_logout_after_that(admin_client, proxy):
    """Where Redis fails after one's own session was ended, the page says that it was."""
    own = own_id(admin_client)
    text = lost(admin_client, proxy, url("delete", own), spared=1)
    assert "1 session was ended." in text
    assert "may have been ended" not in text
    assert logged() == {own: "Ended."}


# What is known not to have been done


@pytest.fixture
def own_server(settings, session_redis, tmp_path):
    """A server of the test's own; who looks at the admin is signed in elsewhere."""
    server = Server(tmp_path)
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    settings.SESSION_REDIS = {**session_redis, "LOCATION": server.url}
    registry.end("0" * 32)
    yield server
    server.stop()


def not_ended(response):
    assert response.status_code == 503
    assert "it cannot show or end sessions now" in text_of(response)
    assert "may have been ended" not in text_of(response)
    assert logged() == {}


def test_nothing_was_sent(own_server, admin_client, monkeypatch):
    """Where the server is gone when the command is about to be sent, nothing was ended."""
    id = signed_in()
    end = registry.end

    def end_without_server(*args, **kwargs):
        own_server.stop()
        return end(*args, **kwargs)

    monkeypatch.setattr(registry, "end", end_without_server)
    not_ended(admin_client.post(url("delete", id), YES))


def test_the_server_refuses(own_server, admin_client):
    """A server that says no has not done it."""
    id = signed_in()
    with own_server.client() as client:
        client.execute_command("ACL", "SETUSER", "default", "-eval", "-evalsha")
    not_ended(admin_client.post(url("delete", id), YES))
    assert registry.find(id) is not None


def test_across_pages_without_an_answer(own_server, admin_client, monkeypatch):
    """Where the server goes away between two batches, the page says how many were ended."""
    monkeypatch.setattr("sessions_redis.admin.listing.END_MANY_BATCH_SIZE", 2)
    ids = [signed_in(seconds=1000 - 100 * number) for number in range(4)]
    end_many = registry.end_many

    def end_and_stop(*args, **kwargs):
        ended = end_many(*args, **kwargs)
        own_server.stop()
        return ended

    monkeypatch.setattr(registry, "end_many", end_and_stop)
    response = admin_client.post(url(), {**SELECTED, "select_across": "1"})
    assert response.status_code == 503
    assert "2 sessions were ended. They are in the admin log." in text_of(response)
    assert "may have been ended" not in text_of(response)
    assert logged().keys() == set(ids[:2])


# Self-service, and its API


@pytest.fixture
def browser(ada):
    return signed_in_browser(ada, page=LIST)


@pytest.fixture
def phone(ada):
    return signed_in_browser(ada, page=LIST)


@pytest.mark.parametrize("which", ["phone", "browser", "others"])
def test_self_service(proxy, browser, phone, which):
    """The page says that the visitor may have been signed out there, not that nobody was."""
    path = {"phone": id_of(phone), "browser": id_of(browser), "others": "others"}[which]
    lose(proxy)
    response = browser.post(f"{LIST}{path}/end/")
    proxy.losing = ()
    assert response.status_code == 503
    assert "The sign-out may have worked" in text_of(response)
    assert "not been signed out" not in text_of(response)
    ended = browser if which == "browser" else phone
    assert ended.get(LIST).status_code == 302


def test_the_api(proxy, browser, phone):
    """So does the error of the API."""
    for path in (f"/api/sessions/{id_of(phone)}", "/api/sessions/?others=1"):
        other = signed_in(browser.get(LIST).context["user"])
        lose(proxy)
        response = browser.delete(path)
        proxy.losing = ()
        assert (response.status_code, response["Retry-After"]) == (503, "5")
        assert "Sessions may have been ended" in response.json()["error"]
    assert phone.get(LIST).status_code == 302
    assert registry.find(other) is None


def test_nobody_was_signed_out(own_server, settings, ada, monkeypatch):
    """Where nothing was sent, self-service and API say what they say in any outage."""
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    browser = signed_in_browser(ada, page=LIST)
    own_server.stop()
    response = browser.post(f"{LIST}others/end/")
    assert "You have not been signed out." in text_of(response)
    response = browser.delete("/api/sessions/?others=1")
    assert response.json() == {"error": "Sessions cannot be reached."}


# The command


@pytest.fixture
def three(ada):
    for name in ("bob", "eve"):
        signed_in(User.objects.create_user(name))
    signed_in(ada)


def test_the_command(proxy, three):
    """It says who was signed out, who may have been, and who was not."""
    lose(proxy, spared=1)
    with pytest.raises(CommandError, match="does not answer") as error:
        run("endsessions", "eve", "ada", "bob")
    proxy.losing = ()
    assert "ada: sessions may have ended: the reply from Redis was lost." in str(error.value)
    assert str(error.value).endswith("Not signed out: 'bob'. Signed out before that: 'eve'.")
    assert registry.count() == 1


def test_the_command_that_only_looked(proxy, three):
    """A reply that is lost before anything was to be ended ended nothing."""
    proxy.losing = (scripts.PAGE.sha,)
    with pytest.raises(CommandError) as error:
        run("endsessions", "ada", "bob", "--all-but-newest")
    proxy.losing = ()
    assert str(error.value).endswith("Not signed out: 'ada', 'bob'.")
    assert "may have been" not in str(error.value)


def test_the_command_of_a_user_with_very_many(proxy, three, ada, monkeypatch):
    """Of the steps before the one whose reply was lost it says how many sessions they ended."""
    monkeypatch.setattr(listings, "END_ALL_BATCH_SIZE", 2)
    for _ in range(5):
        signed_in(ada)
    lose(proxy, spared=1)
    with pytest.raises(CommandError) as error:
        run("endsessions", "ada", "bob")
    proxy.losing = ()
    assert "ada: 2 sessions ended before that. ada: sessions may have" in str(error.value)
    assert str(error.value).endswith("Not signed out: 'bob'.")
    assert len(registry.of_user(ada)) == 2


def test_the_command_that_stopped_between_two_steps(own_server, three, ada, monkeypatch):
    """Where the server was gone before the next step, that one ended nothing."""
    monkeypatch.setattr(listings, "END_ALL_BATCH_SIZE", 2)
    for _ in range(3):
        signed_in(ada)

    def stop(**kwargs):
        own_server.stop()

    session_ended.connect(stop)
    with pytest.raises(CommandError) as error:
        run("endsessions", "ada")
    session_ended.disconnect(stop)
    assert str(error.value).endswith("ada: 2 sessions ended before that.")


# The error


@pytest.fixture(params=["plain", "async"])
def fails(request):
    """``fails(name, …)``: the error of a function of the registry, or of its twin."""

    def plain(name, *arguments):
        with pytest.raises(SessionStoreUnavailable) as error:
            getattr(registry, name)(*arguments)
        return error.value

    def twin(name, *arguments):
        with pytest.raises(SessionStoreUnavailable) as error:
            asyncio.run(getattr(registry, f"a{name}")(*arguments))
        return error.value

    return plain if request.param == "plain" else twin


@pytest.mark.parametrize("name", ["end", "end_many", "end_all_of"])
def test_the_error(settings, session_redis, proxy, fails, name):
    """It says whether the command may have been carried out."""
    argument = ["0" * 32] if name == "end_many" else "0" * 32
    lose(proxy)
    assert fails(name, argument).may_have_been_done
    location = f"redis://127.0.0.1:{free_port()}"
    settings.SESSION_REDIS = {**session_redis, "LOCATION": location}
    error = fails(name, argument)
    assert not error.may_have_been_done
    assert error.__cause__.__notes__ == ["The command was not sent."]


def test_no_connection_is_free(settings, session_redis, server):
    """Where the command had to wait for a connection in vain, it was not sent."""
    options = {"max_connections": 1, "timeout": 0.01}
    settings.SESSION_REDIS = {**session_redis, "OPTIONS": options}
    command = [listings.end_many(conf.current().keyspace, ["0" * 32])]

    async def all_in_use():
        leases = (await pools.current().pipeline_for(command)).leases
        lease = await leases.take()
        with pytest.raises(SessionStoreUnavailable) as error:
            await registry.aend("0" * 32)
        leases.give(lease)
        return error.value

    assert not asyncio.run(all_in_use()).may_have_been_done
    leases = pools.current().leases_for(command)
    lease = leases.take()
    with pytest.raises(SessionStoreUnavailable) as error:
        registry.end("0" * 32)
    leases.give(lease)
    assert not error.value.may_have_been_done
