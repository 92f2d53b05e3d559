"""
The URLs of the self-service pages: ``path("account/sessions/", include("sessions_redis.urls"))``.

The pages need ``django.contrib.auth``, a ``LOGIN_URL``, and a template engine with ``APP_DIRS``.
"""

from django.urls import path

from sessions_redis.web import views

app_name = "sessions_redis"
urlpatterns = [
    path("", views.own_sessions, name="list"),
    path("others/end/", views.end_others, name="end_others"),
    path("<str:session_id>/end/", views.end, name="end"),
]
