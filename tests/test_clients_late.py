"""A write that was given up never reaches the server after newer writes (Linux, as root)."""

import asyncio
import importlib
import importlib.util
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme

from sessions_redis.engine import SessionStore
from tests.servers import Server, free_port, required, unavailable, wait_until

SMALL, LARGE = 1, 5_000_000


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory):
    """A server with TLS. Its attribute ``tls`` is the URL."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "authority.pem")
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "certificate.pem")
    port = free_port()
    files = {"cert": "certificate", "key": "key", "ca-cert": "authority"}
    options = [f"--tls-{name}-file {folder / file}.pem" for name, file in files.items()]
    options += [f"--tls-port {port}", "--tls-auth-clients no"]
    server = Server(folder, *" ".join(options).split(), binary=required("redis-server"))
    server.tls = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={folder / 'authority.pem'}"
    yield server
    server.stop()


@pytest.fixture(params=["plain", "tls"])
def at(request, settings, session_redis, server, prefix):
    """The server that the site uses, by name, with a short time limit for writes."""
    at = request.getfixturevalue("encrypted") if request.param == "tls" else server
    location = at.tls if request.param == "tls" else at.url
    options = {"client_name": prefix, "socket_timeout": 1.0}
    settings.SESSION_REDIS = {**session_redis, "LOCATION": location, "OPTIONS": options}
    return at


class Interrupted(BaseException):
    """Raised by the time limit of a worker."""


def interrupt(number, frame):
    raise Interrupted


class Plainly:
    """A site's actions without an event loop."""

    def changed(self, key, value):
        """The session with a change that is not saved yet."""
        session = SessionStore(key)
        session["x"] = value
        return session

    def save(self, session):
        session.save()

    def give_up(self, session):
        before = signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        try:
            with pytest.raises(Interrupted):
                session.save()
        finally:
            signal.signal(signal.SIGALRM, before)


class InLoop:
    def __init__(self, runner):
        self.runner = runner

    def changed(self, key, value):
        session = SessionStore(key)
        self.runner.run(session.aset("x", value))
        return session

    def save(self, session):
        self.runner.run(session.asave())

    def give_up(self, session):
        with pytest.raises(TimeoutError):
            self.runner.run(asyncio.wait_for(session.asave(), 0.1))


@pytest.fixture(params=["sync", "asyncio", "uvloop"])
def site(request):
    if request.param == "sync":
        yield Plainly()
        return
    factory = None
    if request.param == "uvloop":
        assert importlib.util.find_spec("uvloop") or required("uvloop")
        factory = importlib.import_module("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        yield InLoop(runner)


@contextmanager
def dropped(port, to):
    """
    During this block, data that is sent from ``port`` of this machine to the port ``to`` does not
    arrive. Other programs use the same ``port`` for connections to other servers.
    """
    ports = ["--sport", str(port), "--dport", str(to)]
    rule = ["OUTPUT", "-o", "lo", "-p", "tcp", *ports, "-j", "DROP"]
    iptables = [required("iptables"), "-w"]
    done = subprocess.run([*iptables, "-I", *rule], capture_output=True, text=True, check=False)
    assert done.returncode == 0 or unavailable(f"iptables does not work here: {done.stderr}")
    try:
        yield
    finally:
        subprocess.run([*iptables, "-D", *rule], check=True)


def has_socket(port, to):
    """Whether a socket of this machine may still send data from ``port`` to the port ``to``."""
    ends = [f"{0x0100007F:08X}:{number:04X}" for number in (port, to)]
    sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(fields[1:3] == ends and fields[3] != TIME_WAIT for fields in sockets)


TIME_WAIT = "06"


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("how", ["times out", "is given up"])
def test_a_late_copy(site, at, settings, prefix, how, size):
    """Data of a write that was sent again, or was given up, never arrives later."""
    session = site.changed(None, "0")
    site.save(session)
    older = site.changed(session.session_key, "1" * size)
    newer = site.changed(session.session_key, "2")
    with at.client() as raw:
        (address,) = [one["addr"] for one in raw.client_list() if one["name"] == prefix]
    port = int(address.rpartition(":")[2])
    server_port = urlsplit(settings.SESSION_REDIS["LOCATION"]).port
    with dropped(port, server_port):
        if how == "times out":
            site.save(older)
        else:
            site.give_up(older)
        site.save(newer)
    wait_until(lambda: not has_socket(port, server_port), "nothing is left to send")
    assert SessionStore(session.session_key)["x"] == "2"
