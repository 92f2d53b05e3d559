from django.apps import AppConfig
from django.core import checks
from django.utils.translation import gettext_lazy as _


class SessionsRedisConfig(AppConfig):
    name = "sessions_redis"
    verbose_name = _("Sessions")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from sessions_redis.checks import check_settings  # noqa: PLC0415 - apps are loading

        checks.register(check_settings)
