"""Former stores on real servers, with sessions that their own engines wrote."""

import pytest
from asgiref.sync import async_to_sync
from django.apps import AppConfig, apps
from django.db import connection

from sessions_redis.keys import Key, random_key
from tests.former.engines import without_case

# Their models name a user in the same way, so Django would refuse both in INSTALLED_APPS.
PACKAGES = ("qsessions", "user_sessions")


@pytest.fixture(scope="session")
def _package_models():
    """The models of the packages, without their apps, which would add pages to the admin."""
    models = {}
    for package in PACKAGES:
        config = AppConfig.create(package)
        config.apps = apps
        apps.app_configs[package] = config
        try:
            config.import_models()
        finally:
            del apps.app_configs[package]
            apps.clear_cache()
        models[package] = config.models["session"]
    return {**models, "without_case": without_case.Session}


@pytest.fixture(scope="session")
def _package_tables(_package_models, django_db_setup, django_db_blocker):
    with django_db_blocker.unblock(), connection.schema_editor() as editor:
        for model in _package_models.values():
            editor.create_model(model)
    return _package_models


@pytest.fixture
def package_models(_package_tables, db):
    """The models ``Session`` of the packages, with their tables."""
    return _package_tables


@pytest.fixture
def key():
    return Key(random_key())


@pytest.fixture(params=["sync", "async"])
def call(request):
    """Calls a method of a former store, or its asynchronous twin."""

    def of(store, method, *args, **options):
        if request.param == "sync":
            return getattr(store, method)(*args, **options)
        return async_to_sync(getattr(store, f"a{method}"))(*args, **options)

    return of
