from django.contrib import admin
from django.urls import include, path

from config import views

urlpatterns = [
    path("", views.landing, name="landing"),
    path("docs/", views.docs, name="docs"),
    path("favicon.ico", views.favicon, name="favicon"),
    path("api/", include("userapi.urls")),
    path("account/sessions/", include("sessions_redis.urls")),
    path("admin/", admin.site.urls),
]
