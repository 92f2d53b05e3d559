"""
Settings of the demonstration site. Five environment variables change them.

=============== ====================================== ==========================
Variable        Without it, in development             Without it, in production
=============== ====================================== ==========================
DEBUG           on, unless SECRET_KEY or ALLOWED_HOSTS is set, which means production
SECRET_KEY      a key that everybody knows             error at startup
ALLOWED_HOSTS   only this machine                      error at startup
REDIS_URL       the embedded server, data in .redis/   error at startup
TRUSTED_PROXIES X-Forwarded-For is ignored             X-Forwarded-For is ignored
=============== ====================================== ==========================

In production, it is also an error to set a variable to a value for development.
"""

from pathlib import Path

from config import environment

BASE_DIR = Path(__file__).resolve().parent.parent

DEBUG = environment.is_debug()
if not DEBUG:
    environment.require_production()

SECRET_KEY = environment.given().get("SECRET_KEY", "django-insecure-for-development-alone")
ALLOWED_HOSTS = environment.hosts()

# Sessions, which this site demonstrates

SESSION_ENGINE = "sessions_redis.engine"
SESSION_REDIS = environment.session_redis(default=f"embedded://{BASE_DIR / '.redis'}")
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
    "django.contrib.sessions",  # for Django's checks of the session cookie
    "django.contrib.staticfiles",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "sessions_redis.middleware.SessionMiddleware",
    "config.middleware.LanguageMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "config.middleware.renew_in_admin",
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
LANGUAGE_CODE = "en"
LANGUAGES = [  # those into which sessions_redis is translated
    ("de", "Deutsch"),
    ("en", "English"),
    ("es", "español"),
    ("fr", "français"),
    ("ja", "日本語"),
    ("pt-br", "português do Brasil"),
]
USE_TZ = True
TIME_ZONE = "UTC"

# A proxy in front of the site ends TLS, redirects to HTTPS and sends HSTS. Django cannot see that,
# so these two checks would warn.
SILENCED_SYSTEM_CHECKS = ["security.W004", "security.W008"]
CSRF_COOKIE_SECURE = not DEBUG
# Behind that proxy, requests look like plain HTTP, but come from https:// pages.
CSRF_TRUSTED_ORIGINS = [
    f"https://*{host}" if host.startswith(".") else f"https://{host}"
    for host in ALLOWED_HOSTS
    if host != "*"
]

# Django's error pages also show the environment, and REDIS_URL may contain a password.
DEFAULT_EXCEPTION_REPORTER_FILTER = "config.reports.Filter"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    # Without this, Django logs to the console only while DEBUG is on.
    "root": {"handlers": [] if DEBUG else ["console"]},
    "loggers": {"userapi": {"handlers": ["console"], "level": "INFO", "propagate": False}},
}
