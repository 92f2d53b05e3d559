"""If a reply is lost while sessions are ended, they may have been ended. Pages and logs say so."""

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
    """A proxy between the site and a server that already knows the scripts."""
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
    """Lose the replies to commands that end sessions, except the first ones."""
    proxy.losing, proxy.spared = ENDING, spared


def lost(client, proxy, page, form=YES, *, spared=0):
    """The text of the page that is shown after a lost reply."""
    lose(proxy, spared)
    response = client.post(page, form)
    proxy.losing = ()
    assert (response.status_code, response["Retry-After"]) == (503, "5")
    assert "Redis failed while the site was ending sessions." in text_of(response)
    assert "Nothing was ended" not in text_of(response)
    return text_of(response)


# The admin


def test_one(admin_client, proxy, ada):
    """The page and the log say that the session may have been ended. In fact it was."""
    id = signed_in(ada)
    text = lost(admin_client, proxy, url("delete", id))
    assert "1 session may have been ended: the reply from Redis was lost." in text
    assert logged() == {id: MAYBE}
    assert registry.find(id) is None
    assert MAYBE in text_of(admin_client.get(url("history", id)))


def test_selected(admin_client, proxy, ada):
    """They say the same for each of several selected sessions."""
    ids = [signed_in(ada), signed_in()]
    text = lost(admin_client, proxy, url(), {**SELECTED, "_selected_action": ids})
    assert "2 sessions may have been ended" in text
    assert logged() == dict.fromkeys(ids, MAYBE)
    assert registry.find_many(ids) == []


def test_across_pages(admin_client, proxy, monkeypatch):
    """Earlier batches are logged as ended. Later batches are not sent."""
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
    """The same holds if a user has more sessions than one command ends."""
    monkeypatch.setattr("sessions_redis.admin.listing.END_MANY_BATCH_SIZE", 2)
    ids = [signed_in(ada, seconds=1000 - 100 * number) for number in range(5)]
    text = lost(admin_client, proxy, url("end_all", ada.pk), spared=1)
    assert "2 sessions were ended." in text
    assert "2 sessions may have been ended" in text
    said = "Ended, together with all sessions of the user."
    assert logged() == dict.fromkeys(ids[:2], said) | dict.fromkeys(ids[2:4], MAYBE)


def test_more_than_one_command_ends(admin_client, settings, session_redis, proxy):
    """The log says that sessions may have been ended only if a command for them was sent."""
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
    """
    After the known sessions, the command ends further ones. It is not known whether there were any.
    """
    id = signed_in(ada)
    text = lost(admin_client, proxy, url("end_all", ada.pk), spared=1)
    assert "1 session was ended. It is in the admin log." in text
    assert "Sessions that began in the meantime may have been ended" in text
    assert logged() == {id: "Ended, together with all sessions of the user."}


@pytest.mark.parametrize("way", ["one", "selected"])
def test_ones_own_session(admin_client, proxy, way):
    """
    If the staff user ended the session of this very browser, the page says so, and asks to sign in
    again.
    """
    own = own_id(admin_client)
    page, form = {
        "one": (url("delete", own), YES),
        "selected": (url(), {**SELECTED, "_selected_action": [own]}),
    }[way]
    assert "1 session may have been ended" in lost(admin_client, proxy, page, form)
    assert logged() == {own: MAYBE}
    assert admin_client.get(url()).url.startswith("/admin/login/")


def test_a_logout_after_that(admin_client, proxy):
    """
    If Redis fails after the staff user's own session was ended, the page says that it was ended.
    """
    own = own_id(admin_client)
    text = lost(admin_client, proxy, url("delete", own), spared=1)
    assert "1 session was ended." in text
    assert "may have been ended" not in text
    assert logged() == {own: "Ended."}


# Commands that certainly had no effect


@pytest.fixture
def own_server(settings, session_redis, tmp_path):
    """A server of the test's own. The staff user's session is on another one."""
    server = Server(tmp_path)
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    settings.SESSION_REDIS = {**session_redis, "LOCATION": server.url}
    registry.end("0" * 32)
    yield server
    server.stop()


def not_ended(response):
    assert response.status_code == 503
    assert "The site cannot read sessions from Redis now" in text_of(response)
    assert "may have been ended" not in text_of(response)
    assert logged() == {}


def test_nothing_was_sent(own_server, admin_client, monkeypatch):
    """If the server is gone before the command is sent, nothing was ended."""
    id = signed_in()
    end = registry.end

    def end_without_server(*args, **kwargs):
        own_server.stop()
        return end(*args, **kwargs)

    monkeypatch.setattr(registry, "end", end_without_server)
    not_ended(admin_client.post(url("delete", id), YES))


def test_the_server_refuses(own_server, admin_client):
    """If the server refuses the command, nothing was ended."""
    id = signed_in()
    with own_server.client() as client:
        client.execute_command("ACL", "SETUSER", "default", "-eval", "-evalsha")
    not_ended(admin_client.post(url("delete", id), YES))
    assert registry.find(id) is not None


def test_across_pages_without_an_answer(own_server, admin_client, monkeypatch):
    """If the server is gone between two batches, the page says how many sessions were ended."""
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


# Self-service and its API


@pytest.fixture
def browser(ada):
    return signed_in_browser(ada, page=LIST)


@pytest.fixture
def phone(ada):
    return signed_in_browser(ada, page=LIST)


@pytest.mark.parametrize("which", ["phone", "browser", "others"])
def test_self_service(proxy, browser, phone, which):
    """
    The page says that the visitor may have been signed out there, and not that the session was
    missing.
    """
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
    """The error of the API says the same."""
    for path in (f"/api/sessions/{id_of(phone)}", "/api/sessions/?others=1"):
        other = signed_in(browser.get(LIST).context["user"])
        lose(proxy)
        response = browser.delete(path)
        proxy.losing = ()
        assert (response.status_code, response["Retry-After"]) == (503, "5")
        assert "Sessions may have been ended" in response.json()["error"]
    assert phone.get(LIST).status_code == 302
    assert registry.find(other) is None


def test_nothing_was_sent_to_the_server(own_server, settings, ada, monkeypatch):
    """If nothing was sent, self-service and API give the same answer as in any outage."""
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    browser = signed_in_browser(ada, page=LIST)
    own_server.stop()
    response = browser.post(f"{LIST}others/end/")
    assert "You have not been signed out." in text_of(response)
    response = browser.delete("/api/sessions/?others=1")
    assert response.json() == {"error": "Sessions cannot be reached."}


# The management command


@pytest.fixture
def three(ada):
    for name in ("bob", "eve"):
        signed_in(User.objects.create_user(name))
    signed_in(ada)


def test_the_command(proxy, three):
    """It says who was signed out, who may have been signed out, and who was not."""
    lose(proxy, spared=1)
    with pytest.raises(CommandError, match="does not answer") as error:
        run("endsessions", "eve", "ada", "bob")
    proxy.losing = ()
    assert "ada: sessions may have ended: the reply from Redis was lost." in str(error.value)
    assert str(error.value).endswith("Not signed out: 'bob'. Signed out before that: 'eve'.")
    assert registry.count() == 1


def test_the_command_that_only_read(proxy, three):
    """If the lost reply belongs to a command that only reads, nothing was ended."""
    proxy.losing = (scripts.PAGE.sha,)
    with pytest.raises(CommandError) as error:
        run("endsessions", "ada", "bob", "--all-but-newest")
    proxy.losing = ()
    assert str(error.value).endswith("Not signed out: 'ada', 'bob'.")
    assert "may have been" not in str(error.value)


def test_the_command_of_a_user_with_very_many(proxy, three, ada, monkeypatch):
    """It says how many sessions the earlier steps ended, before the step whose reply was lost."""
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
    """If the server was gone before the next step, that step ended nothing."""
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


def test_the_command_for_all(proxy, three):
    """If a reply is lost while it ends sessions, it says so; not if it only counted them."""
    for lost, may_have_ended in ((scripts.COUNT.sha, False), (scripts.END_MANY.sha, True)):
        proxy.losing = (lost,)
        with pytest.raises(CommandError) as error:
            run("endsessions", "--all", "--no-input")
        proxy.losing = ()
        assert ("More sessions may have ended" in str(error.value)) is may_have_ended
        assert ("No session was ended" in str(error.value)) is not may_have_ended
    assert registry.count() == 0


# The exception


@pytest.fixture(params=["plain", "async"])
def fails(request):
    """``fails(name, …)``: the error of a function of the registry, or of its asynchronous twin."""

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
    """It says whether the command may have taken effect."""
    argument = ["0" * 32] if name == "end_many" else "0" * 32
    lose(proxy)
    assert fails(name, argument).may_have_been_done
    location = f"redis://127.0.0.1:{free_port()}"
    settings.SESSION_REDIS = {**session_redis, "LOCATION": location}
    error = fails(name, argument)
    assert not error.may_have_been_done
    assert error.__cause__.__notes__ == ["The command was not sent."]


def test_no_connection_is_free(settings, session_redis, server):
    """If a command waited for a connection and got none, it was not sent."""
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
