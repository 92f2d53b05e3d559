"""Tests the pages "Where you're signed in", where users see and end their own sessions."""

import re
from functools import partial
from html import unescape

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.urls import reverse
from django.utils import translation

from sessions_redis import registry
from sessions_redis.engine import SessionStore
from sessions_redis.signals import session_ended
from sessions_redis.storage.commands import session_id
from sessions_redis.web.own_sessions import sessions_of
from tests.people.models import Member, Person
from tests.servers import Server
from tests.site import id_of, signed_in_browser, use_site
from tests.test_registry import started
from tests.test_web_devices import IPHONE

PAGE = "/account/sessions/"
OTHERS = f"{PAGE}others/end/"
UNKNOWN = "0123456789abcdef" * 2
KNOW = "If you don’t recognize a device,"

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def site(settings, session_redis):
    use_site(settings)
    return settings


@pytest.fixture
def ada():
    return User.objects.create_user("ada")


@pytest.fixture
def browser(ada):
    """Ada's browser, a Firefox."""
    return signed_in(ada)


signed_in = partial(signed_in_browser, page=PAGE)


def end_of(browser):
    return f"{PAGE}{id_of(browser)}/end/"


def text_of(response):
    """The text of a page, without markup."""
    body = response.content.decode().partition("<body>")[2]
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", body)))


def is_signed_in(browser):
    return browser.get(PAGE).status_code == 200


# The list


def test_one_session(browser):
    """The page shows this session's device, address and times, and that there is no other."""
    response = browser.get(PAGE)
    text = text_of(response)
    assert response.status_code == 200
    assert "signed in as ada ." in text
    assert text.count("Firefox on Linux") == text.count("This device") == 1
    assert "198.51.100.7" in text
    assert "Started" in text
    assert "Last active just now" in text
    assert "not signed in anywhere else" in text
    assert KNOW not in text
    assert OTHERS not in response.content.decode()


def test_several_sessions(ada, browser):
    """The page shows each session. Only the current one is marked. Each can be ended."""
    phone = signed_in(ada, f"{IPHONE} AppleWebKit/605 Version/17.5 Safari/604", "2001:db8::7")
    signed_in(User.objects.create_user("bob"), "Bobs-own-browser", "203.0.113.9")
    page = browser.get(PAGE).content.decode()
    this, _, elsewhere = page.partition('id="sr-others"')
    assert "Firefox on Linux" in this
    assert "on iOS" in elsewhere
    assert "2001:db8::7" in elsewhere
    assert page.count("This device") == 1
    assert KNOW in page
    assert "Bobs-own-browser" not in page
    assert "203.0.113.9" not in page
    for href in (end_of(browser), end_of(phone), OTHERS):
        assert page.count(f'href="{href}"') == 1
    assert id_of(browser) in this
    assert id_of(phone) in elsewhere


@pytest.mark.parametrize(("others", "more"), [(99, 0), (100, 1), (102, 3)])
def test_very_many_sessions(ada, browser, others, more):
    """The page shows 100 sessions and the number of others. One button ends all others."""
    session_ids = [started(str(ada.pk)) for _ in range(others)]
    page = browser.get(PAGE)
    shown = [id for id in session_ids if id in page.content.decode()]
    assert len(shown) in {99, 100}  # the current session is among the 100, or the oldest
    assert id_of(browser) in page.content.decode()
    left = others - len(shown)
    assert left in {max(more - 1, 0), more}
    said = {0: "", 1: "And 1 more. “Sign out everywhere else” includes it."}
    words = said.get(left, f"And {left} more. “Sign out everywhere else” includes them.")
    assert words in text_of(page)
    assert ("more. “Sign out" in text_of(page)) == bool(left)
    asking = text_of(browser.get(OTHERS))
    assert f"This signs out {others} devices or browsers." in asking
    assert ("more session" in asking) == bool(left)
    assert f"Signed out on {others} other devices." in text_of(browser.post(OTHERS, follow=True))
    assert registry.count() == 1


def test_an_old_session_of_very_many(ada, browser, raw, prefix):
    """The page shows the current session, even if many others were used later."""
    key = f"{prefix}:{id_of(browser)}"
    old = {"@created": 1_000_000, "@updated": 1_000_000, "@seen": 1_000_000}
    raw.hset(key, mapping=old)
    for _ in range(100):
        started(str(ada.pk))
    page = browser.get(PAGE)
    assert text_of(page).count("This device") == 1
    assert page.content.decode().count("/end/") == 102
    assert "more. “Sign out" not in text_of(page)
    started(str(ada.pk))
    raw.hset(key, mapping=old)  # the page was a use of it
    assert "And 1 more. “Sign out everywhere else” includes it." in text_of(browser.get(PAGE))


def test_no_session_key_is_shown(ada, browser):
    """Pages and URLs contain session IDs, never session keys."""
    phone = signed_in(ada)
    for path in (PAGE, end_of(phone), end_of(browser), OTHERS):
        page = browser.get(path).content.decode()
        assert browser.cookies["session-id"].value not in page
        assert phone.cookies["session-id"].value not in page


def test_without_metadata(settings, session_redis, ada):
    """Without metadata, the page shows the device and address as unknown."""
    settings.SESSION_REDIS = {**session_redis, "METADATA": False}
    text = text_of(signed_in(ada).get(PAGE))
    assert "Unknown device" in text
    assert "IP address unknown" in text


def test_what_clients_send_is_escaped(ada, browser):
    """HTML in a user agent is escaped."""
    signed_in(ada, "<script>alert(1)</script>")
    page = browser.get(PAGE).content.decode()
    assert "&lt;script&gt;alert(1)" in page
    assert "<script" not in page


def test_a_user_name_is_escaped():
    """HTML in a user name is escaped."""
    browser = signed_in(User.objects.create_user("<b>ada</b>"))
    assert "&lt;b&gt;ada&lt;/b&gt;" in browser.get(PAGE).content.decode()


def test_times_are_in_the_sites_time_zone(settings, browser, raw, prefix):
    """Times are formatted for people, and in the markup in ISO 8601 with their offset."""
    settings.TIME_ZONE = "Asia/Tokyo"
    raw.hset(f"{prefix}:{id_of(browser)}", "@created", 1_700_000_000)
    page = browser.get(PAGE).content.decode()
    assert '<time datetime="2023-11-15T07:13:20+09:00">Nov. 15, 2023, 7:13 a.m.</time>' in page


def test_times_for_templates(rf, browser):
    """A site's own template can also show when a session was last saved."""
    request = rf.get(PAGE)
    request.session = SessionStore(browser.cookies["session-id"].value)
    request.user = User.objects.get()
    (session,) = sessions_of(request).sessions
    assert session.updated == session.last_saved
    assert session.last_active == session.used


def test_times_that_are_damaged(browser, raw, prefix):
    """Every page shows a damaged time as unknown."""
    key = f"{prefix}:{id_of(browser)}"
    raw.hset(key, "@created", "junk")
    for path in (PAGE, end_of(browser)):
        text = text_of(browser.get(path))
        assert "Started unknown Last active just now" in text
        assert text.count("unknown") == 1
    raw.hset(key, mapping={"@updated": "junk", "@seen": "junk"})
    assert "Started unknown Last active unknown" in text_of(browser.get(PAGE))


def test_the_order(ada, browser, raw, prefix):
    """The session that was used last comes first, even if it only read. Others follow by then."""
    now, ids = raw.time()[0], [started(str(ada.pk)) for _ in range(3)]
    for id, (hours, name) in zip(ids, [(9, "@seen"), (3, "@seen"), (6, "@updated")], strict=True):
        times = {"@created": now - 90_000, "@updated": now - 80_000, name: now - 3600 * hours - 5}
        raw.hset(f"{prefix}:{id}", mapping=times)
    page = browser.get(PAGE)
    places = [page.content.decode().index(ids[at]) for at in (1, 2, 0)]
    assert places == sorted(places)
    text = text_of(page).replace("\xa0", " ")
    assert re.findall(r"Last active (\d) hours ago", text) == ["3", "6", "9"]


def test_looking_writes_nothing(browser, raw, prefix):
    """Opening the page does not extend the session."""
    key = f"{prefix}:{id_of(browser)}"
    raw.pexpire(key, 5000)
    before = raw.pexpiretime(key), raw.hgetall(key)
    browser.get(PAGE)
    assert (raw.pexpiretime(key), raw.hgetall(key)) == before


@pytest.mark.parametrize("path", [PAGE, OTHERS, f"{PAGE}{UNKNOWN}/end/"])
@pytest.mark.parametrize("method", ["get", "post"])
def test_who_is_not_signed_in(client, path, method):
    """Anonymous visitors are redirected to LOGIN_URL, and back after signing in."""
    response = getattr(client, method)(path)
    if (path, method) == (PAGE, "post"):
        assert response.status_code == 405
    else:
        assert response.status_code == 302
        assert response["Location"] == f"/admin/login/?next={path}"
        assert response["Cache-Control"] == "no-store"


def test_pages_are_kept_by_no_cache(ada, browser):
    """Every page has a header that forbids caching."""
    for path in (PAGE, OTHERS, end_of(browser), end_of(signed_in(ada))):
        response = browser.get(path)
        assert response.status_code == 200
        assert response["Cache-Control"] == "no-store"


@pytest.mark.parametrize(("path", "methods"), [(PAGE, "GET, HEAD"), (OTHERS, "GET, HEAD, POST")])
def test_other_methods(browser, path, methods):
    """Other methods get a 405 that lists the allowed ones."""
    for method in ("put", "delete", "patch"):
        response = getattr(browser, method)(path)
        assert (response.status_code, response["Allow"]) == (405, methods)
    assert browser.head(path).status_code == 200


@pytest.mark.parametrize("user", [Person(email="ada@example.com"), Member(name="a:b/c d é")])
def test_users_of_any_kind(settings, user):
    """With any user model, each user sees only their own sessions."""
    settings.AUTH_USER_MODEL = user._meta.label
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
    user.save()
    other = type(user)(**{user.USERNAME_FIELD: "somebody else"})
    other.save()
    browser, phone, others = signed_in(user), signed_in(user, "Phone"), signed_in(other, "Others")
    text = text_of(browser.get(PAGE))
    assert f"signed in as {user.get_username()} ." in text
    assert "Phone" in text
    assert "Others" not in text
    assert browser.post(end_of(others)).status_code == 404
    assert browser.post(end_of(phone)).status_code == 302
    assert not is_signed_in(phone)


# Ending one


def test_asking_ends_nothing(ada, browser):
    """The link leads to a confirmation page, and opening that ends nothing."""
    phone = signed_in(ada, "Phone")
    text = text_of(browser.get(end_of(phone)))
    assert "Sign out that device?" in text
    assert "Phone" in text
    assert "Cancel" in text
    assert is_signed_in(phone)


def test_ending_one(ada, browser):
    """The ended session is refused at its next request, others are not, and a message says so."""
    phone, tablet = signed_in(ada, "Phone"), signed_in(ada, "Tablet")
    ended = []

    def receive(**sent):
        ended.append((sent["session_id"], sent["user_pk"]))

    session_ended.connect(receive)
    response = browser.post(end_of(phone))
    session_ended.disconnect(receive)
    assert (response.status_code, response["Location"]) == (302, PAGE)
    assert ended == [(id_of(phone), str(ada.pk))]
    text = text_of(browser.get(PAGE))
    assert text.count("Signed out: Phone") == text.count("Phone") == 1
    assert "Signed out" not in text_of(browser.get(PAGE))
    assert is_signed_in(tablet)
    refused = phone.get(PAGE)
    assert refused.status_code == 302
    assert refused.cookies["session-id"]["max-age"] == 0


def test_ending_this_one(ada, browser):
    """Ending the current session asks first, deletes the cookie, and leads to the sign-in page."""
    phone = signed_in(ada)
    assert "Sign out here?" in text_of(browser.get(end_of(browser)))
    key = browser.cookies["session-id"].value
    response = browser.post(end_of(browser))
    assert (response.status_code, response["Location"]) == (302, PAGE)
    assert response.cookies["session-id"]["max-age"] == 0
    assert not SessionStore().exists(key)
    assert browser.get(PAGE)["Location"].startswith("/admin/login/")
    assert is_signed_in(phone)


def test_where_a_logout_leads(settings, browser):
    """The site's LOGOUT_REDIRECT_URL is used."""
    settings.LOGOUT_REDIRECT_URL = "landing"
    assert browser.post(end_of(browser))["Location"] == "/"


def absences(other):
    """URLs of sessions that are not the user's."""
    anonymous = SessionStore()
    anonymous["color"] = "red"
    anonymous.save()
    return {
        "absent": UNKNOWN,
        "somebody else's": id_of(other),
        "nobody's": session_id(anonymous.session_key),
        "no id": "junk",
        "a key": other.cookies["session-id"].value,
    }


@pytest.mark.parametrize("method", ["get", "post"])
def test_what_is_not_yours_is_not_there(browser, method):
    """Another user's session gives the same response as one that never existed, and stays."""
    other = signed_in(User.objects.create_user("bob"))
    answers = set()
    for id in absences(other).values():
        response = getattr(browser, method)(f"{PAGE}{id}/end/")
        assert response.status_code == 404
        assert "Already signed out" in text_of(response)
        answers.add((response.content, tuple(response.items())))
    assert len(answers) == 1
    assert is_signed_in(other)


def test_it_ended_meanwhile(ada, browser):
    """Ending a session a second time, even at the same moment, shows that it has ended."""
    phone = signed_in(ada)
    path = end_of(phone)
    browser.post(path)
    response = browser.post(path)
    assert (response.status_code, response["Cache-Control"]) == (404, "no-store")
    assert "not signed in any more" in text_of(response)
    assert f'href="{PAGE}"' in response.content.decode()


# Ending all others


def test_ending_all_others(ada, browser):
    """All other sessions are refused at their next request, and a message has their number."""
    others = [signed_in(ada, name) for name in ("Phone", "Tablet")]
    bob = signed_in(User.objects.create_user("bob"))
    asked = text_of(browser.get(OTHERS))
    assert "This signs out 2 devices or browsers" in asked
    assert "Phone" in asked
    assert "Firefox" not in asked
    response = browser.post(OTHERS)
    assert (response.status_code, response["Location"]) == (302, PAGE)
    text = text_of(browser.get(PAGE))
    assert "Signed out on 2 other devices." in text
    assert "not signed in anywhere else" in text
    assert not any(map(is_signed_in, others))
    assert is_signed_in(bob)


def test_there_are_no_others(browser):
    """There is nothing to confirm, and sending the form anyway ends nothing."""
    page = browser.get(OTHERS)
    assert "not signed in anywhere else" in text_of(page)
    assert "<form" not in page.content.decode()
    browser.post(OTHERS)
    assert "Signed out on 0 other devices." in text_of(browser.get(PAGE))


# CSRF


def test_forms_carry_a_token(ada):
    """A form of the site is accepted. A form from another site is not."""
    browser = signed_in(ada, enforce_csrf_checks=True)
    phone = signed_in(ada)
    for path in (end_of(phone), OTHERS, end_of(browser)):
        assert browser.post(path).status_code == 403
        assert is_signed_in(phone)
        page = browser.get(path).content.decode()
        assert re.search(r'name="csrfmiddlewaretoken" value="\w+"', page)
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)[1]
    assert browser.post(OTHERS, {"csrfmiddlewaretoken": token}).status_code == 302
    assert not is_signed_in(phone)


def test_csrf_does_not_hang_on_the_sites_middleware(settings, ada):
    """CSRF is checked even on sites without Django's CSRF middleware."""
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "Csrf" not in name]
    browser = signed_in(ada, enforce_csrf_checks=True)
    assert browser.post(OTHERS).status_code == 403


# Sites


def test_without_messages(settings, ada):
    """Without the messages framework, ending works without a message."""
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "essage" not in name]
    browser, phone = signed_in(ada), signed_in(ada)
    assert browser.post(end_of(phone)).status_code == 302
    assert "Signed out" not in text_of(browser.get(PAGE))
    assert not is_signed_in(phone)


def test_with_djangos_own_middleware(settings, ada):
    """With Django's session middleware, only the device and address are missing."""
    settings.MIDDLEWARE = [
        name.replace("sessions_redis.middleware", "django.contrib.sessions.middleware")
        for name in settings.MIDDLEWARE
    ]
    browser, phone = signed_in(ada), signed_in(ada)
    assert "Unknown device" in text_of(browser.get(PAGE))
    browser.post(OTHERS)
    assert not is_signed_in(phone)


@pytest.fixture
def override(settings, tmp_path):
    """``override(name, text)`` adds a template to the site, which takes precedence."""

    def override(name, text):
        (tmp_path / "sessions_redis").mkdir()
        (tmp_path / "sessions_redis" / name).write_text(text)
        settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [tmp_path]}]

    return override


def test_a_base_template_of_the_sites_own(override, browser):
    """A site that overrides the base template gives the pages its own look."""
    override(
        "base.html",
        "<title>{% block title %}{% endblock %} - Mine</title><nav>mine</nav>"
        "{% block content %}{% endblock %}",
    )
    for path in (PAGE, OTHERS, end_of(browser), f"{PAGE}{UNKNOWN}/end/"):
        page = browser.get(path).content.decode()
        assert page.count("<nav>mine</nav>") == page.count("<h1>") == 1
        assert re.search(r"<title>.+ - Mine</title>", page)
        assert "<style" not in page


def test_a_block_of_the_sites_own(override, browser):
    """A site that extends a page can replace single blocks."""
    override(
        "list.html",
        '{% extends "sessions_redis/list.html" %}{% block note %}<p>Call us.</p>{% endblock %}',
    )
    text = text_of(browser.get(PAGE))
    assert "Call us." in text
    assert "change your password" not in text
    assert "Firefox on Linux" in text


def test_other_languages(settings, ada):
    """Pages declare their language and its direction."""
    settings.LANGUAGES = [("en", "English"), ("he", "Hebrew")]
    browser = signed_in(ada)
    with translation.override("en"):  # restored afterwards
        english = browser.get(PAGE).content.decode()
        hebrew = browser.get(PAGE, headers={"accept-language": "he"}).content.decode()
    assert '<html lang="en" dir="ltr">' in english
    assert '<html lang="he" dir="rtl">' in hebrew


@pytest.mark.parametrize("path", [PAGE, OTHERS, f"{PAGE}{UNKNOWN}/end/"])
def test_pages_stand_alone(ada, browser, path):
    """No scripts, nothing from other sites, one h1, and a title."""
    signed_in(ada)
    page = browser.get(path).content.decode()
    assert "<script" not in page
    assert "http" not in re.sub(r"http-equiv", "", page)
    assert "src=" not in page
    assert "style=" not in page
    assert page.count("<h1>") == page.count("<title>") == page.count("<main>") == 1
    assert not re.search(r"\{[{%#]", page)


def csp(request):
    """Like Django's context processor of the same name, which is new in Django 6.0."""
    return {"csp_nonce": "n0nce"}


def test_a_content_security_policy(settings, ada):
    """With a content security policy, the styles carry the nonce, so the pages keep their look."""
    (engine,) = settings.TEMPLATES
    processors = [*engine["OPTIONS"]["context_processors"], f"{__name__}.csp"]
    settings.TEMPLATES = [{**engine, "OPTIONS": {"context_processors": processors}}]
    page = signed_in(ada).get(PAGE).content.decode()
    assert page.count("<style") == page.count('<style nonce="n0nce">') == 2


def test_names_of_the_pages():
    """A site can link to the list by its URL name."""
    assert reverse("sessions_redis:list") == PAGE
    assert reverse("sessions_redis:end", args=[UNKNOWN]) == f"{PAGE}{UNKNOWN}/end/"


def test_the_demonstration_links_to_it(client):
    """The start page of the demonstration site links to the list."""
    assert f'href="{PAGE}"' in client.get("/").content.decode()


# During an outage


def test_redis_is_away(settings, session_redis, tmp_path, ada, caplog):
    """Each page answers 503 with Retry-After. The cookie and the session stay."""
    server = Server(tmp_path, "--appendonly", "yes", "--appendfsync", "always")
    settings.SESSION_REDIS = {**session_redis, "LOCATION": server.url}
    browser = signed_in(ada)
    path = end_of(browser)
    server.stop()
    for response in (
        browser.get(PAGE),
        browser.get(path),
        browser.post(path),
        browser.get(OTHERS),
        browser.post(OTHERS),
    ):
        assert response.status_code == 503
        assert int(response["Retry-After"]) > 0
        assert response["Cache-Control"] == "no-store"
        assert "Try again in a moment" in text_of(response)
        assert str(server.port) not in text_of(response)
        assert not response.cookies
    assert f"127.0.0.1:{server.port}" in caplog.text
    server.start()
    assert is_signed_in(browser)
    server.stop()


def test_a_base_template_that_asks_while_redis_is_away(
    settings, session_redis, tmp_path, override, ada
):
    """A base template that reads the user or messages does not turn the 503 into a 500."""
    override(
        "base.html",
        "{% if user.is_authenticated %}{{ user }}{% endif %}"
        "{% for message in messages %}{{ message }}{% endfor %}"
        "<body>{% block content %}{% endblock %}",
    )
    server = Server(tmp_path)
    settings.SESSION_REDIS = {**session_redis, "LOCATION": server.url}
    browser = signed_in(ada)
    server.stop()
    assert "Try again in a moment" in text_of(browser.get(PAGE))


def test_without_indexes(settings, session_redis, browser):
    """Without indexes the pages cannot work. The error names the setting to change."""
    settings.SESSION_REDIS = {**session_redis, "INDEX": False}
    with pytest.raises(ImproperlyConfigured, match='SESSION_REDIS\\["INDEX"\\] is False'):
        browser.get(PAGE)


def test_round_trips_do_not_grow(ada, browser, raw):
    """One script call reads the list for any number of sessions."""
    for _ in range(20):
        signed_in(ada)
    before = raw.info("commandstats")["cmdstat_evalsha"]["calls"]
    browser.get(PAGE)
    assert raw.info("commandstats")["cmdstat_evalsha"]["calls"] - before == 1
    assert registry.count() == 21
