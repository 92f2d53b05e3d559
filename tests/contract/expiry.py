"""How long a session lives."""

from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone

from tests.contract.base import UNKNOWN_KEY, Contract


class ExpiryContract(Contract):
    """How long a session lives, and that it is gone afterwards."""

    async def test_a_session_lives_for_the_cookie_age(self, session, settings):
        """A session lives for SESSION_COOKIE_AGE, one that ends with the browser too."""
        settings.SESSION_COOKIE_AGE = 1234
        assert await session.get_expiry_age() == 1234
        await session.set_expiry(0)
        assert await session.get_expiry_age() == 1234

    async def test_an_engine_has_a_cookie_age_of_its_own(self, session):
        """A subclass's get_session_cookie_age() decides how long a session lives."""

        class Brief(self.engine):
            def get_session_cookie_age(self):
                return -10

        brief = type(session)(Brief())
        await brief.save_with(cat="dog")
        assert await brief.get_expiry_age() == -10
        assert await brief.reopen().entries() == {}
        lasting = brief.open()
        await lasting.set_expiry(3600)
        await lasting.save_with(cat="dog")
        assert await lasting.reopen().get("cat") == "dog"

    async def test_expiry_in_seconds(self, session):
        """A number of seconds counts from each modification."""
        moment = timezone.now()
        await session.set_expiry(10)
        assert session.store.modified is True
        assert await session.get_expiry_age() == 10
        assert await session.get_expiry_age(modification=moment) == 10
        in_ten_seconds = moment + timedelta(seconds=10)
        assert await session.get_expiry_date(modification=moment) == in_ten_seconds

    @pytest.mark.parametrize("use_tz", [True, False])
    async def test_expiry_at_a_moment(self, session, settings, use_tz):
        """A datetime is when the session ends, whenever it is modified."""
        settings.USE_TZ = use_tz
        now = timezone.now()
        end = now + timedelta(seconds=10)
        await session.set_expiry(end)
        assert await session.get_expiry_date() == end
        assert await session.get_expiry_age(modification=now) == 10
        assert await session.get_expiry_age(modification=now + timedelta(seconds=4)) == 6
        assert 8 <= await session.get_expiry_age() <= 10

    @pytest.mark.parametrize("use_tz", [True, False])
    async def test_expiry_after_a_time(self, session, settings, use_tz):
        """A timedelta ends the session so long after it was set."""
        settings.USE_TZ = use_tz
        delta = timedelta(seconds=10)
        earliest = timezone.now() + delta
        await session.set_expiry(delta)
        assert earliest <= await session.get_expiry_date() <= timezone.now() + delta
        assert await session.get_expiry_age(modification=earliest - delta) == 10

    async def test_expiry_is_reset(self, session, settings):
        """set_expiry(None) returns to the setting, also where nothing was set."""
        settings.SESSION_COOKIE_AGE = 1234
        await session.set_expiry(None)
        assert session.store.modified is False
        await session.set_expiry(10)
        await session.set_expiry(None)
        assert await session.get_expiry_age() == 1234
        assert await session.has_key("_session_expiry") is False

    async def test_an_expiry_given_loads_nothing(self, session, settings):
        """Age and date of a given expiry are told without loading the session."""
        settings.SESSION_COOKIE_AGE = 1234
        now = datetime(2030, 1, 1, tzinfo=UTC)
        end = now + timedelta(days=2, seconds=3)
        unknown = session.open(UNKNOWN_KEY)
        for expiry, age in [(10, 10), (0, 1234), (None, 1234), (end, 172_803)]:
            assert await unknown.get_expiry_age(modification=now, expiry=expiry) == age
            date = await unknown.get_expiry_date(modification=now, expiry=expiry)
            assert date == now + timedelta(seconds=age)
        text = end.isoformat()
        assert await unknown.get_expiry_age(modification=now, expiry=text) == 172_803
        assert await unknown.get_expiry_date(modification=now, expiry=text) == end
        assert unknown.store.accessed is False

    @pytest.mark.parametrize("by_default", [True, False])
    async def test_expiry_at_browser_close(self, session, settings, by_default):
        """0 ends a session with the browser, other values do not, the setting decides for None."""
        settings.SESSION_EXPIRE_AT_BROWSER_CLOSE = by_default
        assert await session.get_expire_at_browser_close() is by_default
        await session.set_expiry(10)
        assert await session.get_expire_at_browser_close() is False
        await session.set_expiry(0)
        assert await session.get_expire_at_browser_close() is True
        await session.set_expiry(None)
        assert await session.get_expire_at_browser_close() is by_default

    @pytest.mark.parametrize("use_tz", [True, False])
    async def test_a_custom_expiry_is_stored(self, session, settings, use_tz):
        """A custom expiry, and its removal, hold for the requests that follow."""
        settings.USE_TZ = use_tz
        end = timezone.now() + timedelta(days=1)
        await session.set_expiry(3600)
        await session.save()
        assert await session.reopen().get_expiry_age() == 3600
        await session.set_expiry(end)
        await session.save()
        assert await session.reopen().get_expiry_date() == end
        await session.cycle_key()
        assert await session.reopen().get_expiry_date() == end
        await session.set_expiry(0)
        await session.save()
        assert await session.reopen().get_expire_at_browser_close() is True
        await session.set_expiry(None)
        await session.save()
        assert await session.reopen().entries() == {}

    @pytest.mark.parametrize("use_tz", [True, False])
    @pytest.mark.parametrize("kind", ["seconds", "timedelta", "datetime"])
    async def test_an_expired_session_is_gone(self, session, settings, use_tz, kind):
        """A session whose expiry lies in the past is saved without error and loads as {}."""
        settings.USE_TZ = use_tz
        ago = timedelta(seconds=-10)
        expiry = {"seconds": -10, "timedelta": ago, "datetime": timezone.now() + ago}[kind]
        stored = session.open()
        await stored.save_with(cat="dog")
        for expired in (session, stored):
            await expired.set("cat", "dog")
            await expired.set_expiry(expiry)
            await expired.save()
            again = expired.reopen()
            assert dict(await again.load()) == {}
            assert again.key is None
            assert await again.has_key("cat") is False
            assert await again.exists(expired.key) is not self.expires_by_itself
            await again.clear_expired()
            assert await again.exists(expired.key) is False

    async def test_a_session_expired_before_it_was_saved_may_live(self, session):
        """What counts is the expiry at the time of saving."""
        await session.set_expiry(-10)
        await session.set_expiry(3600)
        await session.save_with(cat="dog")
        assert await session.reopen().get("cat") == "dog"

    async def test_an_expired_key_is_never_adopted(self, session):
        """What is set under the key of an expired session is saved under a fresh one."""
        await session.set_expiry(-10)
        await session.save_with(cat="dog")
        again = session.reopen()
        await again.save_with(bird=1)
        assert again.key != session.key
        assert await again.reopen().entries() == {"bird": 1}

    async def test_clear_expired_leaves_the_living(self, session):
        """clear_expired() leaves a session that has not expired."""
        await session.set_expiry(3600)
        await session.save_with(cat="dog")
        await session.clear_expired()
        assert await session.reopen().get("cat") == "dog"

    def test_the_clearsessions_command(self, store):
        """`manage.py clearsessions` removes what has expired and leaves the rest."""
        expired = self.engine()
        expired.set_expiry(-10)
        expired.save()
        store.save()
        call_command("clearsessions")
        assert store.exists(expired.session_key) is False
        assert store.exists(store.session_key) is True
