"""``compose.yaml`` and ``Dockerfile``. They are read as text: the tests need no containers."""

import json
import os
import re
import subprocess
from pathlib import Path
from textwrap import dedent

import pytest

from config.environment import REQUIRED
from tests.documents import ROOT, text_of
from tests.servers import Server, required, wait_until

COMPOSE = text_of("compose.yaml")
DOCKERFILE = text_of("Dockerfile")


def settings_of(name: str) -> dict[str, str]:
    """A configuration of Redis in ``compose.yaml``, without what containers alone have."""
    _, _, rest = COMPOSE.partition(f"  {name}:\n    content: |\n")
    lines = dedent(rest.partition("\n\n")[0]).splitlines()
    settings = dict(line.split(maxsplit=1) for line in lines)
    assert settings.pop("requirepass") == "${REDIS_PASSWORD}"
    assert settings.pop("dir") == "/data"
    return settings


def arguments(settings: dict[str, str]) -> list[str]:
    return [word for name, value in settings.items() for word in (f"--{name}", value)]


def test_a_server_takes_the_configuration(tmp_path):
    """Redis keeps sessions on disk and evicts none, and a session takes little memory."""
    settings = settings_of("redis")
    server = Server(tmp_path, *arguments(settings))
    try:
        with server.client() as client:
            taken = client.config_get(*settings)
    finally:
        server.stop()
    assert taken == settings | {"maxmemory": str(512 * 1024**2)}
    assert taken["maxmemory-policy"] == "noeviction"
    assert taken["appendonly"] == "yes"


def test_the_nodes_are_configured_like_the_one_server():
    """Besides, they are in cluster mode, and a lost node stops only its own sessions."""
    alone, node = settings_of("redis"), settings_of("node")
    assert node.pop("masterauth") == "${REDIS_PASSWORD}"
    assert {name: node[name] for name in alone.keys() - {"maxmemory"}} == {
        name: value for name, value in alone.items() if name != "maxmemory"
    }
    assert {name: node[name] for name in node.keys() - alone.keys()} == {
        "cluster-enabled": "yes",
        "cluster-node-timeout": "5000",
        "cluster-require-full-coverage": "no",
    }


@pytest.fixture
def nodes(tmp_path):
    """Six servers with the configuration of the nodes, not joined yet."""
    settings = settings_of("node")
    settings.pop("masterauth")
    servers = []
    for number in range(6):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        servers.append(Server(folder, *arguments(settings)))
    yield servers
    for server in servers:
        server.stop()


def test_the_nodes_are_joined(nodes):
    """
    The job in ``compose.yaml`` makes one Cluster of the nodes, and leaves it alone after a restart.
    """
    redis_cli = required("redis-cli")
    _, _, rest = COMPOSE.partition("      - -ec\n      - |\n")
    script = dedent(rest.partition("    environment:")[0])
    for number, node in enumerate(nodes, start=1):
        script = script.replace(f"172.30.16.1{number}:6379", f"127.0.0.1:{node.port}")
    script = script.replace("-h 172.30.16.11", f"-h 127.0.0.1 -p {nodes[0].port}")
    assert "172.30" not in script
    environment = {**os.environ, "PATH": f"{Path(redis_cli).parent}:{os.environ['PATH']}"}
    printed = [
        subprocess.run(
            ["sh", "-ec", script],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=120,
        ).stdout
        for _ in range(2)
    ]
    assert "All 16384 slots covered" in printed[0]
    assert printed[1] == ""
    with nodes[0].client() as client:
        wait_until(
            lambda: roles_seen_by(client) == ["master"] * 3 + ["slave"] * 3,
            "the first node has heard which nodes are replicas",
        )


def roles_seen_by(client):
    known = client.execute_command("CLUSTER NODES").values()
    return sorted("master" if "master" in one["flags"] else "slave" for one in known)


def test_the_site_knows_nodes():
    """The URL of the site names addresses that the nodes have."""
    (url,) = re.findall(r"redis\+cluster://\S+", COMPOSE)
    named = re.findall(r"[\d.]+(?=:6379)", url)
    assert len(named) == 3
    assert set(named) < set(re.findall(r"ipv4_address: (\S+)", COMPOSE))


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
