from django.contrib import admin
from django.http import HttpRequest, JsonResponse
from django.urls import path


def count(request: HttpRequest) -> JsonResponse:
    """How many requests this session has made."""
    request.session.setdefault("visits", 0)
    return JsonResponse({"visits": request.session.increment("visits")})


urlpatterns = [path("admin/", admin.site.urls), path("count/", count)]
