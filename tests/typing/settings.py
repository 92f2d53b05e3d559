"""Settings of the site in this folder. It is checked, and never runs."""

SECRET_KEY = "for type checkers alone"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "sessions_redis",
]
SESSION_ENGINE = "sessions_redis.engine"
SESSION_REDIS = {"LOCATION": "redis://127.0.0.1:6379/0"}
