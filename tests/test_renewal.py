"""
Tests that work in the admin of the demonstration site renews the session, and other pages do not.
"""

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.test import AsyncClient, Client

from sessions_redis import registry
from tests.servers import Server
from tests.site import id_of, use_site

pytestmark = pytest.mark.django_db

# How many seconds a session has left before the visit. A renewal gives it 900.
LEFT = 100


@pytest.fixture(autouse=True)
def site(settings, session_redis):
    use_site(settings)


@pytest.fixture
def staff(client):
    """A browser in which an administrator is signed in."""
    client.force_login(User.objects.create_superuser("ada"))
    return client


@pytest.fixture
def renews(raw, prefix):
    """Whether a visit of ``path`` renews the session of ``browser`` for its full lifetime."""

    def visit(browser, path, status=200, method="get"):
        redis_key = f"{prefix}:{id_of(browser)}"
        raw.expire(redis_key, LEFT)
        response = getattr(browser, method)(path)
        assert response.status_code == status
        is_renewed = raw.ttl(redis_key) > LEFT
        assert ("session-id" in response.cookies) == is_renewed
        if is_renewed:
            assert raw.ttl(redis_key) > 800
            assert response.cookies["session-id"]["max-age"] == 900
        return is_renewed

    return visit


@pytest.mark.parametrize(
    "path", ["/admin/", "/admin/auth/user/", "/admin/sessions_redis/session/", "/admin/jsi18n/"]
)
def test_the_admin_renews(staff, renews, path):
    """Each page of the admin renews the session and its cookie for 900 seconds."""
    assert renews(staff, path)


def test_the_admin_renews_under_asgi(staff, raw, prefix):
    """The same under ASGI."""
    redis_key = f"{prefix}:{id_of(staff)}"
    raw.expire(redis_key, LEFT)

    async def visit():
        client = AsyncClient()
        client.cookies = staff.cookies
        return await client.get("/admin/")

    response = async_to_sync(visit)()
    assert response.status_code == 200
    assert response.cookies["session-id"]["max-age"] == 900
    assert raw.ttl(redis_key) > 800


@pytest.mark.parametrize("path", ["/", "/docs/", "/account/sessions/", "/api/sessions/"])
def test_other_pages_do_not_renew(staff, renews, path):
    """A page that does not write does not renew."""
    assert not renews(staff, path)


def test_the_api_does_not_renew(staff, renews):
    """The first response writes a status. Later ones do not renew, even for signed-in visitors."""
    assert renews(staff, "/api/user/noah")
    assert not renews(staff, "/api/user/noah")


@pytest.mark.parametrize(
    ("path", "status"), [("/admin/nowhere/", 404), ("/admin/auth", 301), ("/nowhere", 404)]
)
def test_what_is_no_page_does_not_renew(staff, renews, path, status):
    """Errors, redirects and HEAD requests do not renew."""
    assert not renews(staff, path, status)
    assert not renews(staff, path, status, method="head")


@pytest.mark.parametrize("method", ["post", "head"])
def test_only_a_page_that_is_read_renews(staff, renews, method):
    """A POST does not renew, even if it shows a page, because it may end the session."""
    assert not renews(staff, "/admin/auth/user/add/", method=method)
    assert renews(staff, "/admin/auth/user/add/")


def test_the_sign_in_page_renews_nothing(client, renews):
    """The sign-in page does not renew the session of an anonymous visitor."""
    client.get("/api/user/noah")
    assert not renews(client, "/admin/login/")
    assert not renews(client, "/admin/", 302)
    stranger = Client()
    assert not stranger.get("/admin/login/").cookies.get("session-id")


def test_signing_out_ends_the_session(staff, raw, prefix):
    """Signing out ends the session, and nothing renews it."""
    redis_key = f"{prefix}:{id_of(staff)}"
    response = staff.post("/admin/logout/")
    assert response.status_code == 200
    assert response.cookies["session-id"]["max-age"] == 0
    assert not raw.hexists(redis_key, "@created")


def test_a_session_that_was_ended_is_not_brought_back(staff):
    """An ended session stays ended, and the administrator is signed out."""
    id = id_of(staff)
    assert registry.end(id)
    assert staff.get("/admin/").status_code == 302
    assert registry.find(id) is None


def test_redis_that_refuses_to_write(settings, session_redis, staff, tmp_path):
    """
    If the renewal cannot be written, the response is 503, as for any write, and the cookie stays.
    """
    server = Server(tmp_path)
    settings.SESSION_REDIS = {**session_redis, "LOCATION": server.url}
    try:
        staff.force_login(User.objects.get())
        with server.client() as client:
            client.config_set("maxmemory", "1")
        response = staff.get("/admin/")
        assert response.status_code == 503
        assert not response.cookies
        assert staff.get("/account/sessions/").status_code == 200
    finally:
        server.stop()
