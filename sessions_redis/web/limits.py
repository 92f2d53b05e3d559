"""
Sign-in forms that say when a user has too many sessions: see `MAX_SESSIONS_PER_USER`.

With ``MAX_SESSIONS_POLICY = "refuse"``, ``login()`` raises `SessionLimitReached`, which Django
answers with 403. These classes show its text as an error of the form instead.
"""

from copy import copy
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.forms import Form
from django.http import HttpRequest

from sessions_redis.exceptions import SessionLimitReached

if TYPE_CHECKING:
    from django.contrib.admin import AdminSite
    from django.contrib.auth.views import LoginView
else:
    AdminSite = LoginView = object


class LimitedLoginMixin(LoginView):
    """For Django's ``LoginView`` and similar views, whose ``form_valid()`` calls ``login()``."""

    def form_valid(self, form: Any) -> Any:
        try:
            return super().form_valid(form)
        except SessionLimitReached as refusal:
            form.add_error(None, _error(refusal))
            return self.form_invalid(form)


class LimitedAdminMixin(AdminSite):
    """For an ``AdminSite``: the same for the sign-in page of the admin."""

    def login(self, request: HttpRequest, extra_context: Any = None) -> Any:
        try:
            return super().login(request, extra_context)
        except SessionLimitReached as refusal:
            # The same page again, with a form that only says so. It does not check the password
            # once more.
            site = copy(self)
            site.login_form = _refusing(self.login_form, refusal)
            return super(LimitedAdminMixin, site).login(request, extra_context)


def _refusing(form: type[Form] | None, refusal: SessionLimitReached) -> Any:
    from django.contrib.admin.forms import AdminAuthenticationForm  # noqa: PLC0415 - needs the apps

    def clean(self: Form) -> None:  # noqa: ARG001 - a method
        raise _error(refusal)

    return type("RefusingForm", (form or AdminAuthenticationForm,), {"clean": clean})


def _error(refusal: SessionLimitReached) -> ValidationError:
    return ValidationError(str(refusal), code="session_limit")
