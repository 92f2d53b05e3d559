"""Django's own engines pass the contract: it asks nothing that only ours could give."""

import pytest
from django.contrib.sessions.backends import cache, cached_db, db

from tests.contract import EngineContract


@pytest.mark.django_db
class TestDatabaseEngine(EngineContract):
    engine = db.SessionStore
    expires_by_itself = False


# The cache warns of keys that memcached would refuse.
@pytest.mark.filterwarnings("ignore::django.core.cache.CacheKeyWarning")
class TestCacheEngine(EngineContract):
    engine = cache.SessionStore
    coerces_keys = False


@pytest.mark.django_db
@pytest.mark.filterwarnings("ignore::django.core.cache.CacheKeyWarning")
class TestCachedDatabaseEngine(EngineContract):
    engine = cached_db.SessionStore
    coerces_keys = False
    expires_by_itself = False
