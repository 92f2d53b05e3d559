"""The pages of the demonstration site: the visitor's session in Redis, and the README."""

from pathlib import Path
from shlex import quote
from urllib.parse import parse_qs, unquote, urlsplit

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe

from config.documents import paragraphs
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.masking import mask_fields
from sessions_redis.web.unavailable import RETRY_AFTER


@require_safe
@cache_control(no_store=True)
def landing(request: HttpRequest) -> HttpResponse:
    """Show the visitor's session as stored in Redis. This neither creates nor renews it."""
    try:
        stored = request.session.inspect()
    except SessionStoreUnavailable:  # the session middleware logs it
        response = render(request, "config/landing.html", {"is_redis_away": True}, status=503)
        response["Retry-After"] = str(RETRY_AFTER)
        return response
    context = {"stored": stored}
    if stored:
        context["fields"] = mask_fields(stored.fields).items()
        context["is_signed_in"] = "@user" in stored.fields
        if settings.DEBUG:  # In production, visitors must not see the address of Redis.
            context["command"] = f"{redis_cli()} HGETALL {quote(stored.redis_key)}"
    return render(request, "config/landing.html", context)


def redis_cli() -> str:
    """Return the ``redis-cli`` command for this site's server. It asks for the password, if any."""
    scheme, _, rest = settings.SESSION_REDIS["LOCATION"].partition("://")
    if scheme == "embedded":
        return f"redis-cli -s {quote(str(Path(rest, 'valkey.sock').absolute()))}"
    url = urlsplit(f"{scheme}://{rest}")
    command = f"redis-cli -u {quote(f'{scheme}://{url.netloc}{url.path}')}"
    if scheme == "unix":
        (database,) = parse_qs(url.query).get("db", ["0"])[-1:]
        command = f"redis-cli -s {quote(unquote(url.path))} -n {quote(database)}"
    options = settings.SESSION_REDIS.get("OPTIONS", {})
    if "username" in options:
        command += f" --user {quote(options['username'])}"
    return f"{command} --askpass" if "password" in options else command


@require_safe
def docs(request: HttpRequest) -> HttpResponse:
    """Show the README as Markdown text. It is read from the disk, so it needs no network."""
    try:
        readme = Path(settings.BASE_DIR, "README.md").read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise Http404("README.md is not installed beside manage.py.") from error
    return render(request, "config/docs.html", {"paragraphs": paragraphs(readme)})


@require_safe
@cache_control(max_age=86400, public=True)
def favicon(request: HttpRequest) -> HttpResponse:
    """Serve the icon: browsers request this URL for JSON and the admin, which link no icon."""
    return render(request, "config/favicon.svg", content_type="image/svg+xml")
