from django.apps import AppConfig
from django.core import checks
from django.utils.translation import pgettext_lazy


class SessionsRedisConfig(AppConfig):
    name = "sessions_redis"
    verbose_name = pgettext_lazy("section of the admin", "Sessions")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django.contrib.auth.signals import user_logged_in  # noqa: PLC0415

        from sessions_redis import account_changes, lifetimes  # noqa: PLC0415 - app registry
        from sessions_redis.checks import (  # noqa: PLC0415 - needs the app registry
            TAG,
            check_caches,
            check_cookies,
            check_events,
            check_files,
            check_network,
            check_password,
            check_scripts,
            check_server,
            check_settings,
        )
        from sessions_redis.sign_ins import signed_in  # noqa: PLC0415

        # First: the other receiver may save the session.
        lifetimes.listen()
        user_logged_in.connect(signed_in, dispatch_uid="sessions_redis.sign_ins.signed_in")
        account_changes.connect()
        security = checks.Tags.security
        checks.register(check_settings, TAG)
        checks.register(check_caches, TAG)
        checks.register(check_server, TAG, deploy=True)
        checks.register(check_scripts, TAG, deploy=True)
        checks.register(check_events, TAG, deploy=True)
        checks.register(check_files, TAG, deploy=True)
        checks.register(check_network, TAG, security, deploy=True)
        checks.register(check_password, TAG, security, deploy=True)
        checks.register(check_cookies, TAG, security, deploy=True)
