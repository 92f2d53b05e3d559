"""
Ends sessions of a user whose account changes: ``END_ON_DEACTIVATION``, ``END_ON_PASSWORD_CHANGE``.

Django's signals about the user model say that an account was saved or deleted. If one of the
settings is on, the account is read again before it is saved, to compare. A change of many accounts
in the database, such as ``QuerySet.update()``, sends no signals, so it ends nothing.
"""

from collections.abc import Collection, Mapping
from contextlib import nullcontext
from functools import partial
from inspect import getattr_static
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import get_hasher, identify_hasher, is_password_usable
from django.contrib.sessions.backends.base import SessionBase
from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from django.core.signals import setting_changed
from django.db import transaction
from django.db.models import Model
from django.db.models.signals import post_delete, post_save, pre_save

from sessions_redis import conf, logs, reasons, registry
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.registry import user_pk_of
from sessions_redis.storage.commands import session_id
from sessions_redis.tenants import using as using_tenant
from sessions_redis.web import current

log = logs.named("sessions_redis")

# The attribute of a user that holds the account as it was before, while it is saved.
_BEFORE = "_sessions_redis_before"

# The names of update_fields; ``None`` if all fields are saved.
Fields = Collection[str] | None

WHAT_HAPPENED = {
    reasons.DEACTIVATED: "was deactivated or deleted",
    reasons.PASSWORD: "got another password",
}


def connect() -> None:
    """Receive the signals about the site's user model, and models that inherit from it."""
    try:
        user_model = get_user_model()
    except ImproperlyConfigured:
        return  # a site without users
    for model in apps.get_models():
        if issubclass(model, user_model):
            pre_save.connect(_before_save, sender=model)
            post_save.connect(_after_save, sender=model)
            post_delete.connect(_after_delete, sender=model)


def _connect_again(*, setting: str, **kwargs: Any) -> None:
    if setting == "AUTH_USER_MODEL":
        connect()


setting_changed.connect(_connect_again)


def _before_save(
    *, instance: Any, raw: bool, using: str, update_fields: Fields, **kwargs: Any
) -> None:
    vars(instance).pop(_BEFORE, None)
    if raw or instance.pk is None or not (_ends_deactivated() or _ends_with_password()):
        return
    # A test can have another user model than the one that was connected.
    if not isinstance(instance, get_user_model()):
        return
    if _is_written("password", update_fields) or _is_written("is_active", update_fields):
        accounts = get_user_model()._base_manager.using(using)
        vars(instance)[_BEFORE] = accounts.filter(pk=instance.pk).first()


def _after_save(*, instance: Any, using: str, update_fields: Fields, **kwargs: Any) -> None:
    before = vars(instance).pop(_BEFORE, None)
    if before is None:
        return
    if _ends_deactivated() and _was_deactivated(before, instance, update_fields):
        _end_after_commit(instance, using, reasons.DEACTIVATED)
    elif _ends_with_password() and _got_password(before, instance, update_fields):
        _end_after_commit(instance, using, reasons.PASSWORD, current.session())


def _after_delete(*, instance: Any, using: str, **kwargs: Any) -> None:
    if _ends_deactivated() and isinstance(instance, get_user_model()):
        _end_after_commit(instance, using, reasons.DEACTIVATED)


def _ends_deactivated() -> bool:
    return _is_set("END_ON_DEACTIVATION") and conf.current().end_on_deactivation


def _ends_with_password() -> bool:
    return _is_set("END_ON_PASSWORD_CHANGE") and conf.current().end_on_password_change


def _is_set(name: str) -> bool:
    # A setting with mistakes keeps nobody from saving users, unless it has one of these.
    setting = getattr(settings, "SESSION_REDIS", None)
    return isinstance(setting, Mapping) and bool(setting.get(name))


def _is_written(name: str, update_fields: Fields) -> bool:
    """Whether a save writes this. A property, which is not a field, can depend on any field."""
    if update_fields is None or name in update_fields:
        return True
    try:
        get_user_model()._meta.get_field(name)
    except FieldDoesNotExist:
        return hasattr(getattr_static(get_user_model(), name, None), "__get__")
    return False


def _was_deactivated(before: Any, user: Any, update_fields: Fields) -> bool:
    if not _is_written("is_active", update_fields):
        return False
    return getattr(before, "is_active", True) and not getattr(user, "is_active", True)


def _got_password(before: Any, user: Any, update_fields: Fields) -> bool:
    if not _is_written("password", update_fields):
        return False
    was, now = getattr(before, "password", None), getattr(user, "password", None)
    if was == now or not (is_password_usable(was) or is_password_usable(now)):
        return False  # each time that a password is made unusable, another random text is stored
    return not _is_upgrade(was or "", user, update_fields)


def _is_upgrade(was: str, user: Any, update_fields: Fields) -> bool:
    """
    Whether ``check_password()`` stores the same password with another hash.

    It does so at sign-in, if ``PASSWORD_HASHERS`` has changed, and marks that by ``_password``.
    """
    if {*(update_fields or ())} != {"password"} or vars(user).get("_password", "") is not None:
        return False
    try:
        hasher = identify_hasher(was)
    except ValueError:
        return False
    preferred = get_hasher("default")
    return hasher.algorithm != preferred.algorithm or preferred.must_update(was)


def _end_after_commit(
    user: Model, using: str, reason: str, spared: SessionBase | None = None
) -> None:
    """
    End the user's sessions when the change is committed; if it is rolled back, none ends.

    ``spared``: this session goes on.
    """
    user_pk, tenants, tenant = user_pk_of(user), conf.current().tenants, None
    if tenants is not None:
        try:
            tenant = tenants.current()
        except Exception as error:  # noqa: BLE001 - the site's function can raise any error
            _log_failure(user_pk, reason, f"{tenants} raised {error!r}.")
            return
    transaction.on_commit(partial(_end, user_pk, tenant, reason, spared), using=using)


def _end(user_pk: str, tenant: str | None, reason: str, spared: SessionBase | None) -> None:
    # By now, the session can have a new key.
    spared_id = session_id(spared.session_key) if spared and spared.session_key else None
    try:
        with nullcontext() if tenant is None else using_tenant(tenant):
            registry.end_all_of(user_pk, except_id=spared_id, reason=reason)
    except SessionStoreUnavailable as error:
        # The change is in the database. To raise an error now would tell the user that it is not.
        _log_failure(user_pk, reason, error)


def _log_failure(user_pk: str, reason: str, error: object) -> None:
    log.error(
        "User %s %s, but not all of the user's sessions could be ended. To end them, call "
        "sessions_redis.registry.end_all_of(). %s",
        user_pk, WHAT_HAPPENED[reason], error, extra={"request": logs.no_request()},
    )  # fmt: skip
