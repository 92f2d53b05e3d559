from django.contrib.auth.models import User

from sessions_redis.requests import SessionHttpRequest


class SignedInRequest(SessionHttpRequest):
    user: User  # pyright: ignore[reportIncompatibleVariableOverride]
