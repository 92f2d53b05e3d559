"""A site whose tests the suite runs as its developers would. It receives ``SESSION_REDIS``."""

import json
import os

SECRET_KEY = "for tests alone"
ROOT_URLCONF = "tests.tested_site.urls"
STATIC_URL = "static/"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "sessions_redis",
]
MIDDLEWARE = [
    os.environ.get("TESTED_SITE_MIDDLEWARE", "sessions_redis.middleware.SessionMiddleware"),
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
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
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
SESSION_ENGINE = os.environ.get("TESTED_SITE_ENGINE", "sessions_redis.engine")
SESSION_REDIS = json.loads(os.environ["TESTED_SITE_REDIS"])
MAILERS = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}
