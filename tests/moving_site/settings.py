"""The settings of the site. The environment has what differs: ``MOVING``, in JSON."""

import json
import os

differing = json.loads(os.environ["MOVING"])

SECRET_KEY = "for tests alone"
ALLOWED_HOSTS = ["127.0.0.1"]
USE_TZ = True
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "sessions_redis",
]
MIDDLEWARE = [
    "django.middleware.common.CommonMiddleware",
    "sessions_redis.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
ROOT_URLCONF = "tests.moving_site.site"
DATABASES = {"default": differing["database"]}
CACHES = {"default": differing["cache"]}
SILENCED_SYSTEM_CHECKS = ["sessions_redis.W022"]  # the cache is in the same Redis
SESSION_FILE_PATH = differing["folder"]
SESSION_ENGINE = "sessions_redis.engine"
SESSION_REDIS = {
    "LOCATION": differing["location"],
    "KEY_PREFIX": differing["prefix"],
    # The machine can be very busy.
    "OPTIONS": {"socket_timeout": 20.0, "socket_connect_timeout": 20.0, "timeout": 20.0},
    "FORMER_ENGINE": differing["engine"],
}
