"""The check of the permission to publish, which ``EVENTS`` needs."""

import pytest
from django.core.checks import ERROR, run_checks

from tests.servers import Server, free_port


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("own"))
    yield server
    server.stop()


def found():
    messages = run_checks(include_deployment_checks=True)
    return [one for one in messages if one.id == "sessions_redis.E040"]


@pytest.mark.parametrize(
    ("rules", "is_refused"),
    [
        (["&session:ended"], False),
        (["allchannels", "-publish"], True),
        (["&session:other"], True),
    ],
)
def test_permissions(settings, own, rules, is_refused):
    """The error names the command, the channel, and the rule to add. It does not name the user."""
    with own.client() as admin:
        words = ["reset", "on", "nopass", "~*", "+@all", "resetchannels", *rules]
        admin.execute_command("ACL", "SETUSER", "countess", *words)
    location = own.url.replace("//", "//countess:any@")
    settings.SESSION_REDIS = {"LOCATION": location, "EVENTS": True}
    errors = found()
    assert len(errors) == is_refused
    for error in errors:
        assert error.level == ERROR
        assert "PUBLISH" in error.msg
        assert "+publish &session:ended" in error.hint
        assert "countess" not in f"{error.msg} {error.hint}"
    settings.SESSION_REDIS = {"LOCATION": location}
    assert found() == []


def test_a_command_that_was_renamed(settings, tmp_path):
    """That is a refusal as well."""
    server = Server(tmp_path, "--rename-command", "PUBLISH", "")
    settings.SESSION_REDIS = {"LOCATION": server.url, "EVENTS": True}
    assert len(found()) == 1
    server.stop()


@pytest.mark.parametrize(
    "setting",
    [
        {"LOCATION": f"redis://127.0.0.1:{free_port()}/0"},
        {"LOCATION": "memory://events"},
        {"LOCATION": "redis://127.0.0.1:6379/0", "OPTIONS": {"sockettimeout": 1}},
        {"LOCATION": "redis://127.0.0.1:6379/0", "KEY_PREFIX": "tests.tenancy.key_prefix"},
    ],
)
def test_what_cannot_be_checked(settings, setting):
    """Nothing is said if the server is away, is for tests, or each tenant has its own channel."""
    settings.SESSION_REDIS = {**setting, "EVENTS": True}
    assert found() == []
