"""Keeps people signed in while they work in the admin, and chooses the language of pages."""

from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.middleware.locale import LocaleMiddleware
from django.utils import translation
from django.utils.decorators import sync_and_async_middleware


@sync_and_async_middleware
def renew_in_admin(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """
    Renew the session of a signed-in user with each page of the admin, for its full lifetime.

    Put it after the session middleware, which then saves the session and sends the cookie. Other
    pages renew a session only if they change it.
    """
    if iscoroutinefunction(get_response):

        async def aanswer(request: HttpRequest) -> HttpResponse:
            return renewing(request, await get_response(request))

        return aanswer

    def answer(request: HttpRequest) -> HttpResponse:
        return renewing(request, get_response(request))

    return answer


def renewing(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    # Only for GET: a form may end the session of the request that sends it.
    if request.method == "GET" and response.status_code == 200 and is_admin(request):
        # The admin has already loaded the user, so this queries neither Redis nor the database.
        request.session.modified |= request.user.is_authenticated
    return response


class LanguageMiddleware(LocaleMiddleware):
    """
    Choose the language that the visitor's browser asks for, on the pages that are translated.

    The start page and the API of this demonstration are in English.
    """

    def process_request(self, request: HttpRequest) -> None:
        if is_translated(request):
            super().process_request(request)
        else:  # The thread still has the language of its last request.
            translation.activate(settings.LANGUAGE_CODE)

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        return super().process_response(request, response) if is_translated(request) else response


def is_translated(request: HttpRequest) -> bool:
    return request.path.startswith(("/admin/", "/account/"))


def is_admin(request: HttpRequest) -> bool:
    return request.resolver_match is not None and "admin" in request.resolver_match.app_names
