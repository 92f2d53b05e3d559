"""Settings of the test suite. Redis is set per test, by the fixtures in conftest.py."""

SECRET_KEY = "for tests alone"
USE_TZ = True
INSTALLED_APPS = [
    "config",
    "userapi",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "sessions_redis",
    "tests.people",
]
# As the site's: were it set per test, every test that renders would compile the templates anew.
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
SESSION_ENGINE = "sessions_redis.engine"
SESSION_REDIS = {"LOCATION": "memory://"}
# Django 6.1 wants it for the mails to ADMINS; older ones do not know it.
MAILERS = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}
