from django.http import HttpRequest, HttpResponse, JsonResponse

from sessions_redis.engine import SessionStore
from sessions_redis.requests import SessionHttpRequest


def visits(request: SessionHttpRequest) -> HttpResponse:
    return JsonResponse({"visits": request.session.increment("visits")})


def count_visit(request: HttpRequest) -> None:
    # Where you cannot choose the type of the request, ask the session.
    if isinstance(request.session, SessionStore):
        request.session.increment("visits")
