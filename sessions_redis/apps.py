from django.apps import AppConfig
from django.core import checks
from django.utils.translation import gettext_lazy as _


class SessionsRedisConfig(AppConfig):
    name = "sessions_redis"
    verbose_name = _("Sessions")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from sessions_redis.checks import (  # noqa: PLC0415 - apps are loading
            check_eviction,
            check_settings,
        )

        checks.register(check_settings)
        checks.register(check_eviction, deploy=True)
