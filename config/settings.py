"""
Settings of the demonstration site, taken from four environment variables.

============= ====================================== ==========================
Variable      Without it, in development             Without it, in production
============= ====================================== ==========================
DEBUG         on, unless SECRET_KEY or ALLOWED_HOSTS is set: those say "production"
SECRET_KEY    a key that everybody knows             refused
ALLOWED_HOSTS this machine alone                     refused
REDIS_URL     the embedded server, data in .redis/   refused
============= ====================================== ==========================

What is for development is refused in production also where it is given by name.
"""

import os
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent

# What a production start must be given, and what to give it.
REQUIRED = {
    "SECRET_KEY": "at least 50 random characters that nobody else knows",
    "ALLOWED_HOSTS": "the names of this site, such as www.example.com,example.com",
    "REDIS_URL": "the server that keeps the sessions, such as rediss://user:password@host:6379/0",
}
INSECURE_KEY = "django-insecure-for-development-alone"
given = {name: os.environ[name] for name in REQUIRED if os.environ.get(name, "").strip()}


def is_debug() -> bool:
    text = os.environ.get("DEBUG")
    if text is None:
        return not given.keys() & {"SECRET_KEY", "ALLOWED_HOSTS"}
    if text.lower() not in {"1", "true", "yes", "on", "0", "false", "no", "off"}:
        raise ImproperlyConfigured(
            f"DEBUG is {text!r}. Set DEBUG=1 for development, DEBUG=0 for production."
        )
    return text.lower() in {"1", "true", "yes", "on"}


DEBUG = is_debug()
if not DEBUG and given.keys() != REQUIRED.keys():
    raise ImproperlyConfigured(
        "DEBUG is off, and a production start needs more. Set"
        + "".join(f"\n  {name}: {what}" for name, what in REQUIRED.items() if name not in given)
        + "\nor, for development, DEBUG=1."
    )

if not DEBUG and given["SECRET_KEY"].startswith("django-insecure-"):
    raise ImproperlyConfigured(
        f"DEBUG is off, and SECRET_KEY is one for development. Set {REQUIRED['SECRET_KEY']}."
    )
if not DEBUG and given["REDIS_URL"].startswith(("embedded:", "memory:")):
    raise ImproperlyConfigured(
        "DEBUG is off, and REDIS_URL names a server that ends with the process that uses it. "
        f"Set {REQUIRED['REDIS_URL']}."
    )

SECRET_KEY = given.get("SECRET_KEY", INSECURE_KEY)
ALLOWED_HOSTS = given.get("ALLOWED_HOSTS", "").replace(",", " ").split()

# Sessions: what this site is here to show

SESSION_ENGINE = "sessions_redis.engine"
SESSION_REDIS = {"LOCATION": given.get("REDIS_URL", f"embedded://{BASE_DIR / '.redis'}")}
SESSION_COOKIE_NAME = "session-id"
SESSION_COOKIE_AGE = 900
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = not DEBUG

INSTALLED_APPS = [
    "config",
    "userapi",
    "sessions_redis",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",  # for its clearsessions
    "django.contrib.staticfiles",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "sessions_redis.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
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

# Users, for the admin
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"},
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LOGIN_URL = "admin:login"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
USE_TZ = True
TIME_ZONE = "UTC"

# The proxy that ends TLS redirects to it and sends HSTS: this site cannot tell that it is there.
SILENCED_SYSTEM_CHECKS = ["security.W004", "security.W008"]
CSRF_COOKIE_SECURE = not DEBUG
# Behind that proxy a request looks like plain HTTP, but comes from an https:// page.
CSRF_TRUSTED_ORIGINS = [
    f"https://*{host}" if host.startswith(".") else f"https://{host}"
    for host in ALLOWED_HOSTS
    if host != "*"
]

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    # What Django logs reaches the console by itself only while DEBUG is on.
    "root": {"handlers": [] if DEBUG else ["console"]},
    "loggers": {"userapi": {"handlers": ["console"], "level": "INFO", "propagate": False}},
}
