"""Requests and responses, through the session middleware."""

import pytest
from django.conf import settings as site
from django.contrib.sessions.exceptions import SessionInterrupted
from django.http import HttpResponse

from tests.contract.base import UNKNOWN_KEYS, Contract


async def do_nothing(session):
    pass


async def read_cat(session):
    await session.get("cat")


async def set_cat(session):
    await session.set("cat", "dog")


async def flush(session):
    await session.flush()


class MiddlewareContract(Contract):
    """The engine behind the session middleware, plain and under ASGI."""

    async def respond(self, session, view, *, cookie=None, status=200):
        """Send a request through the middleware to `view(session)`, and return the response."""

        async def get_response(request):
            await view(type(session)(request.session))
            return HttpResponse(status=status)

        request = session.requests.get("/")
        request.COOKIES.update({site.SESSION_COOKIE_NAME: cookie} if cookie else {})
        return await session.respond(self.middleware, get_response, request)

    async def test_a_changed_session_is_saved(self, session, settings):
        """A session set by a view is stored and its key sent as a cookie, under Vary: Cookie."""
        settings.SESSION_COOKIE_AGE = 1234
        response = await self.respond(session, set_cat)
        cookie = response.cookies[site.SESSION_COOKIE_NAME]
        assert await session.open(cookie.value).entries() == {"cat": "dog"}
        assert cookie["max-age"] == 1234
        assert cookie["expires"]
        assert response.headers["Vary"] == "Cookie"

    async def test_the_next_request_reads_it(self, session):
        """A session is read and changed by the request that brings its cookie."""
        await session.save_with(cat="fish", bird=1)
        response = await self.respond(session, set_cat, cookie=session.key)
        assert response.cookies[site.SESSION_COOKIE_NAME].value == session.key
        assert await session.reopen().entries() == {"cat": "dog", "bird": 1}

    @pytest.mark.parametrize("has_cookie", [True, False])
    async def test_an_untouched_session_is_left_alone(self, session, has_cookie):
        """A view that does not touch the session gets no cookie, no Vary and no save."""
        await session.save_with(cat="dog")
        cookie = session.key if has_cookie else None
        response = await self.respond(session, do_nothing, cookie=cookie)
        assert not response.cookies
        assert not response.has_header("Vary")

    async def test_a_session_only_read_is_not_saved(self, session):
        """A view that only reads gets Vary: Cookie and no save, even if the session ended."""

        async def view(current):
            assert await current.get("cat") == "dog"
            await session.delete()

        await session.save_with(cat="dog")
        response = await self.respond(session, view, cookie=session.key)
        assert not response.cookies
        assert response.headers["Vary"] == "Cookie"
        assert await session.exists(session.key) is False

    async def test_an_emptied_session_is_saved(self, session):
        """A session without entries that was not flushed is stored and keeps its cookie."""

        async def view(current):
            await current.pop("cat")

        await session.save_with(cat="dog")
        response = await self.respond(session, view, cookie=session.key)
        assert response.cookies[site.SESSION_COOKIE_NAME].value == session.key
        assert await session.exists(session.key) is True
        assert await session.reopen().entries() == {}
        assert response.headers["Vary"] == "Cookie"

    async def test_a_flushed_session_loses_its_cookie(self, session, settings):
        """flush() in a view deletes the cookie, where and as it was set."""
        settings.SESSION_COOKIE_DOMAIN = ".example.com"
        settings.SESSION_COOKIE_PATH = "/here/"
        settings.SESSION_COOKIE_SAMESITE = "Strict"
        await session.save_with(cat="dog")
        response = await self.respond(session, flush, cookie=session.key)
        cookie = response.cookies[site.SESSION_COOKIE_NAME]
        assert (cookie.value, cookie["max-age"]) == ("", 0)
        assert cookie["expires"] == "Thu, 01 Jan 1970 00:00:00 GMT"
        assert (cookie["domain"], cookie["path"]) == (".example.com", "/here/")
        assert cookie["samesite"] == "Strict"
        assert response.headers["Vary"] == "Cookie"
        assert await session.exists(session.key) is False

    async def test_flush_without_a_cookie(self, session):
        """flush() in a request without cookie sets none."""
        response = await self.respond(session, flush)
        assert not response.cookies
        assert response.headers["Vary"] == "Cookie"

    @pytest.mark.parametrize("key", ["short", *UNKNOWN_KEYS.values()], ids=["short", *UNKNOWN_KEYS])
    async def test_a_cookie_that_names_no_session(self, session, key):
        """A cookie that names no session is deleted when read, replaced when written."""
        response = await self.respond(session, read_cat, cookie=key)
        assert response.cookies[site.SESSION_COOKIE_NAME]["max-age"] == 0
        response = await self.respond(session, set_cat, cookie=key)
        fresh_key = response.cookies[site.SESSION_COOKIE_NAME].value
        assert fresh_key != key
        assert await session.open(fresh_key).entries() == {"cat": "dog"}

    @pytest.mark.parametrize("status", [500, 503])
    async def test_a_failed_request_saves_nothing(self, session, status):
        """A response of 5xx leaves the session as it was and sets no cookie."""
        await session.save_with(cat="fish")
        response = await self.respond(session, set_cat, cookie=session.key, status=status)
        assert not response.cookies
        assert await session.reopen().entries() == {"cat": "fish"}
        response = await self.respond(session, set_cat, status=status)
        assert not response.cookies

    async def test_a_refused_request_is_saved(self, session):
        """A response of 4xx saves the session as any other."""
        await session.save_with(cat="fish")
        await self.respond(session, set_cat, cookie=session.key, status=404)
        assert await session.reopen().entries() == {"cat": "dog"}

    async def test_a_session_deleted_during_the_request(self, session):
        """A changed session that was deleted meanwhile raises SessionInterrupted, and stays so."""

        async def view(current):
            await current.set("cat", "fish")
            await session.delete()

        await session.save_with(cat="dog")
        with pytest.raises(SessionInterrupted, match="deleted before the request completed"):
            await self.respond(session, view, cookie=session.key)
        assert await session.exists(session.key) is False

    async def test_a_cycled_session_changes_its_cookie(self, session):
        """cycle_key() in a view sends the new key, and the old one is dead."""

        async def view(current):
            await current.cycle_key()

        await session.save_with(cat="dog")
        response = await self.respond(session, view, cookie=session.key)
        new_key = response.cookies[site.SESSION_COOKIE_NAME].value
        assert new_key != session.key
        assert await session.open(new_key).entries() == {"cat": "dog"}
        assert await session.exists(session.key) is False

    async def test_saving_every_request(self, session, settings):
        """SESSION_SAVE_EVERY_REQUEST renews the cookie of an untouched session, if there is one."""
        settings.SESSION_SAVE_EVERY_REQUEST = True
        await session.save_with(cat="dog")
        response = await self.respond(session, do_nothing, cookie=session.key)
        assert response.cookies[site.SESSION_COOKIE_NAME].value == session.key
        assert response.headers["Vary"] == "Cookie"
        assert await session.reopen().entries() == {"cat": "dog"}
        response = await self.respond(session, do_nothing)
        assert not response.cookies

    @pytest.mark.parametrize(("expiry", "max_age"), [(0, ""), (100, 100)])
    async def test_the_cookie_lives_as_long_as_the_session(self, session, expiry, max_age):
        """The cookie ends with the browser for an expiry of 0, else with the session."""

        async def view(current):
            await current.set_expiry(expiry)

        response = await self.respond(session, view)
        cookie = response.cookies[site.SESSION_COOKIE_NAME]
        assert cookie["max-age"] == max_age
        assert bool(cookie["expires"]) is bool(expiry)

    @pytest.mark.parametrize(
        ("attribute", "value", "sent"),
        [
            ("secure", True, True),
            ("secure", False, ""),
            ("httponly", True, True),
            ("httponly", False, ""),
            ("samesite", "Strict", "Strict"),
            ("domain", ".example.com", ".example.com"),
            ("path", "/here/", "/here/"),
        ],
    )
    async def test_the_cookie_settings_are_kept(self, session, settings, attribute, value, sent):
        """The cookie is sent as the SESSION_COOKIE_… settings say."""
        setattr(settings, f"SESSION_COOKIE_{attribute.upper()}", value)
        response = await self.respond(session, set_cat)
        assert response.cookies[site.SESSION_COOKIE_NAME][attribute] == sent
