"""
Servers with TLS: certificates that are accepted, and errors that say which certificate is wrong.
"""

import asyncio
import datetime as dt
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import redis
from cryptography.hazmat.primitives import serialization
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from redis.backoff import NoBackoff
from redis.retry import Retry

from sessions_redis.clients import tls
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.storage.steps import Command
from tests.certificates import Certificates, Issued
from tests.servers import Server, free_port, required
from tests.test_secrets import PASSWORD, failure_of

ECHO = Command(("ECHO", "word"), bytes.decode)
DAY = dt.timedelta(1)

# No retries, so that errors come at once.
ONCE = {"retry": Retry(NoBackoff(), 0)}


class Old(Certificates):
    """Certificates, and one that has expired."""

    def expired(self, name: str, *identities: str) -> Issued:
        now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
        issued = self._authority.issue_cert(
            *identities, not_before=now - 9 * DAY, not_after=now - DAY
        )
        key, certificate = self.folder / f"{name}.key", self.folder / f"{name}.pem"
        issued.private_key_pem.write_to_path(key)
        issued.cert_chain_pems[0].write_to_path(certificate)
        return Issued(str(certificate), str(key))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """
    TLS servers of one authority, and the options of a site that trusts it.

    The server ``plain`` asks for no certificate of its clients, ``mutual`` requires one.
    ``renamed`` has a certificate for another host, that of ``expired`` has expired.
    """
    binary = required("redis-server")
    ours = Old(tmp_path_factory.mktemp("certificates"))
    others = Certificates(tmp_path_factory.mktemp("others"))
    servers, ports = [], {}
    kinds = {
        "plain": ("no", ours.server),
        "mutual": ("yes", ours.server),
        "renamed": ("no", ours.issue("renamed", "redis.example.com")),
        "expired": ("no", ours.expired("expired", "127.0.0.1")),
    }
    for kind, (asks, shown) in kinds.items():
        ports[kind] = free_port()
        words = ours.server_arguments(ports[kind], clients=asks)
        words += ["--tls-cert-file", shown.certificate, "--tls-key-file", shown.key]
        servers.append(Server(tmp_path_factory.mktemp(kind), *words, binary=binary))
    ports["without"] = servers[0].port
    trusting = ours.client_options(shows_certificate=False)
    old = ours.expired("old-client", "client.example")
    yield SimpleNamespace(
        ports=ports,
        known=ours.client_options(),
        trusting=trusting,
        misled=others.client_options(shows_certificate=False),
        unknown={**others.client_options(), **trusting},
        late={**trusting, "ssl_certfile": old.certificate, "ssl_keyfile": old.key},
        mixed={**ours.client_options(), "ssl_keyfile": others.client.key},
        keyless={**ours.client_options(), "ssl_keyfile": ours.client.certificate},
        admin=servers[1].client,
    )
    for server in servers:
        server.stop()


@pytest.fixture(params=["OPTIONS", "URL"])
def connect(request, settings, session_redis, execute, site):
    """Runs a command at a server with these options. They stand in OPTIONS or in the URL."""

    def connect(kind, options, *, scheme="rediss", host="127.0.0.1", **more):
        location = f"{scheme}://{host}:{site.ports[kind]}/0"
        if request.param == "URL":
            location += "?" + "&".join(f"{name}={value}" for name, value in options.items())
            options = {}
        settings.SESSION_REDIS = {
            **session_redis,
            "LOCATION": location,
            "OPTIONS": {**ONCE, **options, **more},
        }
        return execute(ECHO)

    return connect


def refused(connect, *arguments, **options):
    with pytest.raises(SessionStoreUnavailable) as caught:
        connect(*arguments, **options)
    assert not caught.value.may_have_been_done
    assert isinstance(caught.value.__cause__, redis.RedisError)
    return str(caught.value)


# Connections that work


def test_a_private_authority(connect, site):
    """The engine trusts the authority that the site names, by address and by name."""
    assert connect("plain", site.trusting) == "word"
    assert connect("plain", site.trusting, host="localhost") == "word"


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_certificate_of_the_site(connect, site, protocol):
    """The engine shows the site's certificate to a server that requires one."""
    assert connect("mutual", site.known, protocol=protocol) == "word"


def test_a_self_signed_server(connect):
    """A server whose certificate nobody can check works if the site turns the check off."""
    assert connect("plain", {"ssl_cert_reqs": "none"}) == "word"


def test_a_name_that_is_not_checked(connect, site):
    """The site can trust a certificate for another name, if it says so."""
    assert connect("renamed", {**site.trusting, "ssl_check_hostname": False}) == "word"


def test_a_session_over_tls(settings, session_redis, site):
    """Sessions are created, loaded and saved over TLS, in threads and in event loops."""
    location = f"rediss://127.0.0.1:{site.ports['mutual']}/0"
    settings.SESSION_REDIS = {**session_redis, "LOCATION": location, "OPTIONS": site.known}
    session = SessionStore()
    session["color"] = "red"
    session.create()
    again = SessionStore(session.session_key)
    assert again["color"] == "red"
    asyncio.run(again.aset("color", "blue"))
    asyncio.run(again.asave())
    assert SessionStore(session.session_key)["color"] == "blue"
    session.delete()


# Connections that do not


@pytest.mark.parametrize("options", ["none", "misled"])
def test_an_unknown_authority(connect, site, options):
    """An error names the option for a private authority, and the one for a self-signed server."""
    error = refused(connect, "plain", {} if options == "none" else site.misled)
    assert "shows a certificate that this site does not trust: " in error
    assert "certificate verify failed" in error
    assert '"ssl_ca_certs": "/path/to/ca.pem" in SESSION_REDIS["OPTIONS"]' in error
    assert 'set "ssl_cert_reqs": "none"' in error


def test_another_name(connect, site):
    """A certificate for another host is reported as such."""
    error = refused(connect, "renamed", site.trusting)
    assert "shows a certificate for another name: " in error
    assert "Write the host in LOCATION as it is written in the certificate" in error


def test_an_expired_certificate(connect, site):
    """An expired certificate of the server is reported as such."""
    error = refused(connect, "expired", site.trusting)
    assert "shows a certificate that is not valid now: " in error
    assert "has expired" in error


@pytest.mark.parametrize("options", ["trusting", "unknown", "late"])
@pytest.mark.parametrize("protocol", [2, 3])
def test_a_site_that_the_server_does_not_know(connect, site, options, protocol):
    """
    If the site's certificate is missing, unknown or expired, the error names the options to set.
    """
    error = refused(connect, "mutual", getattr(site, options), protocol=protocol)
    assert "does not let this site connect over TLS: " in error
    assert 'set "ssl_certfile" and "ssl_keyfile" in SESSION_REDIS["OPTIONS"]' in error
    assert "rediss://" not in error.partition("does not")[2]


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_site_without_tls(connect, protocol):
    """If the server accepts only TLS, the error says how to write LOCATION."""
    error = refused(connect, "plain", {}, scheme="redis", protocol=protocol)
    assert "write rediss:// in LOCATION" in error
    assert ("HELLO" in error) == (protocol == 3)


def test_a_server_without_tls(connect, site):
    """If the server has no TLS at that port, the error says how to write LOCATION."""
    seconds = {"socket_timeout": 0.1, "socket_connect_timeout": 0.1}
    error = refused(connect, "without", site.trusting, **seconds)
    assert "does not answer over TLS: " in error
    assert "write redis:// in LOCATION" in error


FILES = {
    "authority that is missing": {"ssl_ca_certs": "/no/such/ca.pem"},
    "authority that is a folder": {"ssl_ca_certs": "/"},
    "authority that is something else": {"ssl_ca_certs": __file__},
    "certificate that is missing": {"ssl_certfile": "/no/client.pem", "ssl_keyfile": "/no/key"},
    "key of another certificate": "mixed",
    "file without a key": "keyless",
}


def options_for(site, name):
    options = FILES[name]
    return getattr(site, options) if isinstance(options, str) else options


@pytest.mark.parametrize("name", FILES)
def test_files_that_cannot_be_used(connect, site, name):
    """If a file is missing or wrong, the error at the first request names the options to check."""
    error = refused(connect, "plain", options_for(site, name))
    assert "was not asked, because a file for TLS cannot be used: " in error
    assert 'Check the options "ssl_ca_certs", "ssl_certfile" and "ssl_keyfile"' in error


def test_options_for_tls_without_tls(connect, site):
    """Options for TLS beside redis:// are a wrong setting."""
    with pytest.raises(ImproperlyConfigured, match="ssl_ca_certs"):
        connect("plain", site.trusting, scheme="redis")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (redis.ConnectionError("CERTIFICATE_VERIFY_FAILED: weak key"), "does not accept: {what}"),
        (redis.ConnectionError("[SSL: WRONG_VERSION_NUMBER] wrong"), "does not answer over TLS"),
        (redis.TimeoutError("Timeout connecting to server"), "does not answer over TLS"),
        (redis.ConnectionError("Connection closed by server."), None),  # while in use
        (redis.ResponseError("an alert of a script"), None),
    ],
)
def test_other_errors(error, words):
    """Errors that these tests cannot bring about: other certificates, and errors without TLS."""
    said = tls.explanation(error)
    assert said is None if words is None else words in said


# The check


@pytest.mark.parametrize("name", FILES)
def test_the_check_finds_files(settings, site, name):
    """``check --deploy`` reports a file that cannot be used, without connecting."""
    options = options_for(site, name)
    location = f"rediss://127.0.0.1:{free_port()}/0"
    settings.SESSION_REDIS = {"LOCATION": location, "OPTIONS": options}
    found = [one for one in run_checks(include_deployment_checks=True) if "E004" in (one.id or "")]
    assert len(found) == 1
    assert 'SESSION_REDIS["OPTIONS"] "ssl_' in found[0].msg
    assert "PEM format" in found[0].hint
    assert [one for one in run_checks() if "E004" in (one.id or "")] == []


def test_the_check_asks_for_no_password(settings, site, tmp_path):
    """The check uses the password of a key, and never asks for one at the terminal."""
    plain = Path(site.known["ssl_keyfile"]).read_bytes()
    key = serialization.load_pem_private_key(plain, None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(PASSWORD.encode()),
    )
    (tmp_path / "locked.key").write_bytes(key)
    options = {**site.known, "ssl_keyfile": str(tmp_path / "locked.key")}
    found = []
    for password in (PASSWORD, "another", None):
        settings.SESSION_REDIS = {
            "LOCATION": "rediss://127.0.0.1:1/0",
            "OPTIONS": {**options, "ssl_password": password},
        }
        messages = run_checks(include_deployment_checks=True)
        found.append([one.msg for one in messages if "E004" in (one.id or "")])
    assert [len(messages) for messages in found] == [0, 1, 1]
    assert PASSWORD not in str(found)


@pytest.mark.parametrize(
    "setting",
    [
        {"LOCATION": "redis://127.0.0.1:1/0"},
        {"LOCATION": "rediss://127.0.0.1:1/0"},
        {"LOCATION": "rediss://127.0.0.1:1/0", "OPTIONS": {"sockettimeout": 1}},
        {"LOCATION": "nonsense"},
    ],
)
@pytest.mark.parametrize("in_use", [True, False])
def test_nothing_to_find(settings, setting, in_use):
    """The check finds nothing without files, and leaves other mistakes to other checks."""
    settings.SESSION_REDIS = setting
    if not in_use:
        settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    found = run_checks(include_deployment_checks=True)
    assert [one for one in found if "E004" in (one.id or "")] == []


# Beside TLS: the server's limit of connections


def test_a_server_with_too_many_clients(settings, execute, tmp_path):
    """If the server accepts no more connections, the error names the limit."""
    server = Server(tmp_path)
    try:
        with server.client() as client:
            client.config_set("maxclients", 1)
            for protocol in (2, 3):
                options = {**ONCE, "protocol": protocol}
                settings.SESSION_REDIS = {"LOCATION": server.url, "OPTIONS": options}
                error = failure_of(execute, ECHO)
                assert isinstance(error, SessionStoreUnavailable)
                # The connection may be closed before the server's error is read.
                assert re.search('[Rr]aise (its )?"maxclients"', str(error))
            client.config_set("maxclients", 100)
        assert execute(ECHO) == "word"
    finally:
        server.stop()
