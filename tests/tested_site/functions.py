"""The same site's tests, as functions for pytest."""

import pytest

from sessions_redis import registry
from tests.tested_site.cases import new_session


@pytest.mark.django_db
@pytest.mark.usefixtures("fresh_sessions")
@pytest.mark.parametrize("time", [1, 2])
def test_fresh(admin_client, time):
    assert registry.count() == 1
    assert admin_client.get("/admin/").status_code == 200


def test_left(fresh_sessions):
    new_session()
    assert registry.count() == 1
