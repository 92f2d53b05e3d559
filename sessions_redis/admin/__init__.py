"""The section "Sessions" of the Django admin: it lists, finds and ends sessions."""

from django.contrib import admin

from sessions_redis.admin.sessions import SessionAdmin
from sessions_redis.models import Session

__all__ = ["SessionAdmin"]

admin.site.register(Session, SessionAdmin)
