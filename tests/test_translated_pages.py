"""Tests what visitors with a browser in another language see, and that pages mix no languages."""

import asyncio
import re
from html import unescape

import pytest
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import AsyncClient, Client
from django.urls import path
from django.utils import translation

from tests.catalogs import LANGUAGES, READ
from tests.section import own_id, signed_in, staff, text_of, url, use_section
from tests.servers import free_port

OWN = "/account/sessions/"
YES = {"post": "yes"}
HOUR, DAY = 3600, 86400

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def section(settings):
    use_section(settings)
    with translation.override("en"):  # requests change it, and it is restored afterwards
        yield


@pytest.fixture
def ada():
    return User.objects.create_user("ada")


def browser(language, user):
    client = Client(headers={"accept-language": language})
    client.force_login(user)
    return client


@pytest.fixture
def german(admin_user):
    return browser("de", admin_user)


def saved(raw, prefix, user, age):
    """A session that was saved ``age`` seconds ago. Returns its ID."""
    id = signed_in(user)
    seconds = int(raw.time()[0]) - age
    raw.hset(f"{prefix}:{id}", mapping={"@created": seconds, "@updated": seconds})
    return id


def test_the_list(german, ada, raw, prefix):
    """Headings, times, filters and the histogram are in the browser's language."""
    for age in (DAY + HOUR, 3 * DAY, 2 * HOUR):
        saved(raw, prefix, ada, age)
    response = german.get(url())
    text = text_of(response).replace("\xa0", " ")
    assert response["Content-Language"] == "de"
    assert "<title>Sitzung " in response.content.decode()
    for words in (
        "Alle Sitzungen nach verbleibender Zeit",
        "ID Benutzer Gerät IP-Adresse Erstellt Zuletzt aktiv Noch gültig",
        "Firefox auf Linux",
        "vor 1 Tag, 1 Stunde",  # not "1 Tage", and in the dative case:
        "vor 3 Tagen",
        "vor 2 Stunden",
        "gerade eben",
        "Nach Besucher Alle Angemeldet Anonym",
        "Ausgewählte Sitzungen beenden",
        "4 Sitzungen",
    ):
        assert words in text
    assert "ago" not in text.split()


@pytest.mark.parametrize("code", LANGUAGES)
def test_each_language_reaches_the_browser(code, admin_user):
    """The page for users and the admin are in each of the languages."""
    language = code.replace("_", "-")
    client = browser(language, admin_user)
    with translation.override(language.lower()):
        own, section = translation.gettext("Where you’re signed in"), translation.gettext("session")
    assert own != "Where you’re signed in"
    response = client.get(OWN)
    assert own in response.content.decode()
    assert f'<html lang="{language.lower()}"' in response.content.decode()
    assert section.lower() in text_of(client.get(url())).lower()


def test_the_demonstration_is_in_english_elsewhere(german):
    """Its start page and its API do not depend on the browser, or on the request before."""
    german.get(url())
    for page in ("/", "/api/user/noah"):
        response = german.get(page)
        assert "Content-Language" not in response
        assert "Accept-Language" not in response.get("Vary", "")
    assert translation.get_language() == "en"
    assert "Time to live" in text_of(german.get("/"))


def test_while_redis_is_away(settings, session_redis, german):
    """The 503 pages are in the browser's language, and say so."""
    settings.SESSION_REDIS = {**session_redis, "LOCATION": f"redis://127.0.0.1:{free_port()}/0"}
    pages = {
        url(): "Sitzungen sind nicht erreichbar",
        OWN: "Die Website kann gerade nicht nachsehen, wo Sie angemeldet sind.",
    }
    for page, words in pages.items():
        response = german.get(page)
        assert response.status_code == 503
        assert words in text_of(response)
        assert 'lang="de"' in response.content.decode()


def count_visits(request):
    return HttpResponse(request.session.get("visits", 0))


urlpatterns = [path("", count_visits)]


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_site_without_pages_of_its_own(kind, settings, session_redis):
    """The page for other parts of a site is translated, too, under WSGI and ASGI."""
    settings.SESSION_REDIS = {**session_redis, "LOCATION": f"redis://127.0.0.1:{free_port()}/0"}
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = [
        "sessions_redis.middleware.SessionMiddleware",
        "django.middleware.locale.LocaleMiddleware",
    ]
    client = kind()
    client.cookies[settings.SESSION_COOKIE_NAME] = "x" * 32
    response = client.get("/", headers={"accept-language": "de"})
    if kind is AsyncClient:
        response = asyncio.run(response)
    page = response.content.decode()
    assert '<html lang="de">' in page
    assert "<title>Dienst nicht verfügbar</title>" in page


def test_the_error_of_redis_is_marked_as_english(settings, session_redis, german):
    """Screen readers read it aloud as English."""
    settings.SESSION_REDIS = {**session_redis, "INDEX": False}
    page = german.get(url()).content.decode()
    assert "Diese Website ist nicht dafür eingerichtet" in page
    assert re.search('<p class="help" lang="en">[^<]*INDEX', page)


# No page has a text that is not translated


@pytest.fixture
def bracketed(monkeypatch):
    """Django's translations, and this package's, with brackets around each text."""
    translation.gettext("")  # Django chooses the functions at the first call
    for name in ("gettext", "ngettext", "pgettext", "npgettext"):
        monkeypatch.setattr(
            translation._trans, name, in_brackets(getattr(translation._trans, name))
        )


def in_brackets(translate):
    return lambda *args: f"⟦{translate(*args)}⟧"


def not_in_brackets(response):
    """The words of a page that were not translated: names and other data."""
    page = response.content.decode().replace("<wbr>", "")
    for element in ("script", "style", "pre"):
        page = re.sub(f"<{element}\\b.*?</{element}>", "", page, flags=re.DOTALL)
    page = re.sub('<input type="hidden"[^>]*>|<option[^>]*>', "", page)
    text = unescape("\0".join([*READ.findall(page), re.sub(r"<[^>]*>", "\0", page)]))
    text = re.sub(r"[0-9a-f]{8,32}|203\.0\.113\.7", "", text)
    while "⟦" in text:
        text = re.sub("⟦[^⟦⟧]*⟧", "", text)
    return set(re.findall(r"[^\W\d_]\w*", text))


def test_all_texts_of_the_section(bracketed, admin_client, client, ada):
    """Pages of the admin have no words but names, besides what is translated."""
    first, second, third = (signed_in(ada, seconds=DAY * number) for number in (2, 3, 4))
    signed_in()
    entries = {"color": "red", "visits": 1, "cart": [], "reset_token": "p3kx8W1nq0Zy7RtLmV4dHs"}
    own = own_id(admin_client)
    client.force_login(staff("warden", "delete_session"))
    # Names, what was searched, and a word that Django does not translate.
    names = {"admin", "ada", "warden", "abc", "Search"}
    pages = [
        admin_client.get(url()),
        admin_client.get(url(), {"signed_in": "yes", "q": "abc"}),
        admin_client.get(url(), {"user": ada.pk}),
        admin_client.get(url("delete", first)),
        admin_client.post(url("delete", own), YES),
        admin_client.get(url("end_all", ada.pk)),
        admin_client.post(url(), {"action": "delete_selected", "_selected_action": [second, own]}),
        admin_client.get(url("history", third)),
        admin_client.post(url("delete", third), YES, follow=True),
        admin_client.get(url("history", third)),
        admin_client.post(url("find"), {"session_key": "abc"}, follow=True),
        client.get(url()),
    ]
    for page in pages:
        assert page.status_code == 200
        assert not_in_brackets(page) <= names
    shown = admin_client.get(url("change", signed_in(ada, agent="", **entries)))
    auth = {"auth_user_id", "auth_user_backend", "auth_user_hash"}
    assert not_in_brackets(shown) == {"admin", "ada", *auth, *entries}


def test_all_texts_of_the_page_for_users(bracketed, client, ada):
    """Pages for users have no words but names, besides what is translated."""
    client.force_login(ada)
    empty = client.get(OWN)
    other = signed_in(ada)
    pages = [
        empty,
        client.get(OWN),
        client.get(f"{OWN}{other}/end/"),
        client.get(f"{OWN}others/end/"),
        client.post(f"{OWN}{other}/end/", follow=True),
        client.get(f"{OWN}{other}/end/"),
        client.post(f"{OWN}others/end/", follow=True),
    ]
    for page in pages:
        assert "⟦" in page.content.decode()
        assert not_in_brackets(page) == set()
