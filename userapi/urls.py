from django.urls import path, re_path

from userapi import sessions, views

urlpatterns = [
    # Any text, even with slashes and line breaks: the view checks the name and explains errors.
    re_path(r"^user/(?P<username>[\s\S]*)$", views.user, name="user"),
    path("sessions/", sessions.sessions, name="sessions"),
    path("sessions/<str:session_id>", sessions.session, name="session"),
    re_path(r"^", views.unknown),
]
