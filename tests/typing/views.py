"""
The views of a site. `mypy` and `pyright` check them, and know the type of everything.

Each wrong line below "Wrong" has two comments: the error of mypy and that of pyright.
"""

from typing import Any, assert_type

from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views import View

from sessions_redis import registry
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionGone, SessionStoreUnavailable
from sessions_redis.masking import mask_fields
from sessions_redis.registry import LiveSession
from sessions_redis.requests import SessionHttpRequest
from sessions_redis.scope import Scope
from sessions_redis.signals import session_created, session_ended
from sessions_redis.storage.commands import StoredSession


def cart(request: SessionHttpRequest) -> HttpResponse:
    session = assert_type(request.session, SessionStore)
    session["color"] = "red"
    session.setdefault("visits", 0)
    assert_type(session.increment("visits"), int)
    assert_type(session.increment("visits", by=2), int)
    pears = assert_type(session.scope("cart"), Scope)
    pears["pears"] = 2
    del pears["pears"]
    assert_type(dict(pears), dict[str, Any])
    stored = assert_type(session.inspect(), StoredSession | None)
    if stored:
        assert_type(stored.ttl, float)
        mask_fields(stored.fields)
    return JsonResponse({"key": session.session_key})


async def async_cart(request: SessionHttpRequest) -> HttpResponse:
    session = request.session
    await session.aset("color", "red")
    assert_type(await session.aincrement("visits"), int)
    assert_type(await session.ainspect(), StoredSession | None)
    pears = session.scope("cart")
    await pears.aset("pears", 2)
    assert_type(await pears.aitems(), list[tuple[str, Any]])
    return JsonResponse({"live": assert_type(await registry.acount(), int)})


@login_required
def sign_out_elsewhere(request: SessionHttpRequest) -> HttpResponse:
    assert isinstance(request.user, User)
    found = assert_type(registry.of_user(request.user), list[LiveSession])
    addresses = [assert_type(session.ip, str | None) for session in found]
    assert_type(registry.find("0123456789abcdef" * 2), LiveSession | None)
    try:
        key = request.session.session_key
        ended = assert_type(registry.end_all_of(request.user, except_session_key=key), int)
    except SessionStoreUnavailable as error:
        return HttpResponse(str(error.may_have_been_done), status=503)
    return JsonResponse({"ended": ended, "addresses": addresses})


class Cart(View):
    def post(self, request: SessionHttpRequest) -> HttpResponse:
        try:
            request.session.increment("visits")
        except SessionGone:
            return HttpResponse(status=400)
        return HttpResponse()


@receiver(session_ended)
def log(*, session_id: str, user_pk: str | None, reason: str, **kwargs: Any) -> None:
    print(session_id, user_pk, reason)


@receiver(session_created)
def welcome(*, session_id: str, user_pk: str | None, **kwargs: Any) -> None:
    print(session_id, user_pk)


urlpatterns = [
    path("cart", cart),
    path("async-cart", async_cart),
    path("elsewhere", sign_out_elsewhere),
    path("visits", Cart.as_view()),
]


# Wrong


def wrong_session(request: SessionHttpRequest) -> None:
    session = request.session
    session.increment("visits", by="2")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    session.increment(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    session.increments("visits")  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    session.scope(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    session.scope("cart")[7] = 1  # type: ignore[index]  # pyright: ignore[reportArgumentType]
    print(session.inspect().ttl)  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]
    visits: str = session.increment("visits")  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    print(visits)


async def wrong_async(request: SessionHttpRequest) -> None:
    visits: int = request.session.aincrement("visits")  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    await request.session.increment("visits")  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    print(visits)


def wrong_registry(user: User) -> None:
    registry.find(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    registry.latest("0")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    registry.end_all_of()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    registry.end_all_of(user, except_key="k")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    print(registry.of_user(user)[0].session_key)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType]
    session_ended.conect(print)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


def of_django(request: HttpRequest) -> None:
    request.session.increment("visits")  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
