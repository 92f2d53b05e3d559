"""``compose.yaml`` and ``Dockerfile``. They are read as text: the tests need no containers."""

import json
import re
from pathlib import Path
from textwrap import dedent

from config.environment import REQUIRED
from tests.documents import ROOT, text_of
from tests.servers import Server

COMPOSE = text_of("compose.yaml")
DOCKERFILE = text_of("Dockerfile")


def redis_settings() -> dict[str, str]:
    """The configuration of Redis in ``compose.yaml``."""
    _, _, rest = COMPOSE.partition("    content: |\n")
    lines = dedent(rest.partition("\n\n")[0]).splitlines()
    return dict(line.split(maxsplit=1) for line in lines)


def test_a_server_takes_the_configuration(tmp_path):
    """Redis keeps sessions on disk and evicts none, and a session takes little memory."""
    settings = redis_settings()
    assert settings.pop("requirepass") == "${REDIS_PASSWORD}"
    assert settings.pop("dir") == "/data"
    words = [word for name, value in settings.items() for word in (f"--{name}", value)]
    server = Server(tmp_path, *words)
    try:
        with server.client() as client:
            taken = client.config_get(*settings)
    finally:
        server.stop()
    assert taken == settings | {"maxmemory": str(512 * 1024**2)}
    assert taken["maxmemory-policy"] == "noeviction"
    assert taken["appendonly"] == "yes"


def test_the_site_gets_what_production_needs():
    """Each variable without which a production site does not start is set."""
    environment = COMPOSE.partition("environment: &environment\n")[2].partition("volumes:")[0]
    assert {*REQUIRED, "TRUSTED_PROXIES"} == set(
        re.findall("^ +([A-Z_]+):", environment, re.MULTILINE)
    )


def test_the_password_comes_from_outside():
    """No file has it, and Compose refuses to start without it."""
    assert "redis://:${REDIS_PASSWORD:?" in COMPOSE
    assert "SECRET_KEY: ${SECRET_KEY:?" in COMPOSE


def test_the_image_has_what_is_there():
    """Each path that the image copies is in the project."""
    copied = [
        word
        for line in re.findall("^COPY (.*) ", DOCKERFILE, re.MULTILINE)
        for word in line.split()
    ]
    assert {"manage.py", "sessions_redis", "config", "userapi"} <= {*copied}
    assert [path for path in copied if not Path(ROOT, path).exists()] == []


def test_the_image_starts_gunicorn_as_documented():
    """Its command has the options of the docs, and more for a container."""
    (documented,) = re.findall(
        "`(gunicorn .* --preload config.wsgi)`", text_of("docs/deployment.md")
    )
    command = json.loads(DOCKERFILE.rpartition("CMD ")[2].replace("\\\n", ""))
    assert [word for word in command if word in documented.split()] == documented.split()
