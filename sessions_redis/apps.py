from django.apps import AppConfig
from django.core import checks
from django.utils.translation import gettext_lazy as _


class SessionsRedisConfig(AppConfig):
    name = "sessions_redis"
    verbose_name = _("Sessions")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from sessions_redis.checks import (  # noqa: PLC0415 - needs the app registry
            check_cookies,
            check_eviction,
            check_password,
            check_settings,
        )

        checks.register(check_settings)
        checks.register(check_eviction, deploy=True)
        checks.register(check_password, checks.Tags.security, deploy=True)
        checks.register(check_cookies, checks.Tags.security, deploy=True)
