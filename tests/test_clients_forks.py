"""Promise 14: a process that forked never speaks on its parent's connection, however it forked."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

from sessions_redis.clients import memory
from sessions_redis.engine import SessionStore
from tests.servers import DEADLINE, free_port, required, wait_until

ROOT = Path(__file__).parent.parent

# A process that uses a session and forks. Then it and its child read sessions of their own. Each
# prints how many reads returned another session's data: at once, and after the time for which
# connections are kept.
READERS = """
import asyncio, ctypes, json, multiprocessing, os, sys, threading, time
from django.conf import settings

settings.configure(SESSION_REDIS=json.loads(sys.argv[1]))
from sessions_redis.clients import leases
from sessions_redis.engine import SessionStore

world, way, place, keys = sys.argv[2], sys.argv[3], sys.argv[4], json.loads(sys.argv[5])
leases.KEEP_SECONDS = 0.1


def read(name):
    return SessionStore(keys[name])["name"]


async def aread(name):
    return await SessionStore(keys[name]).aget("name")


def reads(name):
    wrong = sum(read(name) != name for _ in range(300))
    time.sleep(leases.KEEP_SECONDS)
    return wrong + sum(read(name) != name for _ in range(3))


async def areads(name):
    wrong = sum([await aread(name) != name for _ in range(300)])
    await asyncio.sleep(leases.KEEP_SECONDS)
    return wrong + sum([await aread(name) != name for _ in range(3)])


def child(writing):
    # In a thread, which no event loop runs in, be it inherited.
    done = []
    job = reads if world == "sync" else lambda name: asyncio.run(areads(name))
    thread = threading.Thread(target=lambda: done.append(job("child")))
    thread.start()
    thread.join()
    os.write(writing, json.dumps(done).encode())


def fork(writing):
    if way == "multiprocessing":
        process = multiprocessing.get_context("fork").Process(target=child, args=(writing,))
        process.start()
        return process.pid
    pid = os.fork() if way == "os" else ctypes.PyDLL(None).fork()
    if pid == 0:
        try:
            child(writing)
        finally:
            os._exit(0)
    return pid


reading, writing = os.pipe()


def plainly():
    before = read("parent") if world == "sync" else asyncio.run(aread("parent"))
    pid = fork(writing)
    wrong = reads("parent") if world == "sync" else asyncio.run(areads("parent"))
    return before, pid, wrong


async def in_a_loop():
    before = read("parent") if world == "sync" else await aread("parent")
    pid = fork(writing)
    return before, pid, reads("parent") if world == "sync" else await areads("parent")


def on_its_loop():
    loop = asyncio.new_event_loop()
    before = loop.run_until_complete(aread("parent"))
    pid = os.fork() if way == "os" else ctypes.PyDLL(None).fork()
    wrong = loop.run_until_complete(areads("child" if pid == 0 else "parent"))
    if pid == 0:
        loop.run_until_complete(loop.shutdown_asyncgens())
        os.write(writing, json.dumps([wrong]).encode())
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return before, pid, wrong + loop.run_until_complete(areads("parent"))


if place == "in a loop":
    before, pid, wrong = asyncio.run(in_a_loop())
else:
    before, pid, wrong = plainly() if place == "plainly" else on_its_loop()
os.waitpid(pid, 0)
print(json.dumps({"before": before, "parent": [wrong], "child": json.loads(os.read(reading, 99))}))
"""


def named(name):
    session = SessionStore()
    session["name"] = name
    session.save()
    return session.session_key


def run(program, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done


WAYS = ["os", "ctypes", "multiprocessing"]


@pytest.mark.parametrize(
    ("way", "world", "place"),
    [
        *((way, world, "plainly") for way in WAYS for world in ("sync", "async")),
        *((way, world, "in a loop") for way in WAYS for world in ("sync", "async")),
        *((way, "async", "on its loop") for way in ("os", "ctypes")),
    ],
)
def test_parent_and_child_read_their_own(session_redis, way, world, place):
    """Parent and child use their sessions directly after the fork, and neither gets the other's."""
    keys = {name: named(name) for name in ("parent", "child")}
    done = run(READERS, json.dumps(session_redis), world, way, place, json.dumps(keys))
    assert json.loads(done.stdout) == {"before": "parent", "parent": [0], "child": [0]}


# A process in which another thread holds all locks when it forks.
HELD = """
import ctypes, json, os, sys, threading
from django.conf import settings

settings.configure(SESSION_REDIS=json.loads(sys.argv[1]))
from sessions_redis.clients import pools
from sessions_redis.engine import SessionStore

key = sys.argv[2]
assert SessionStore(key)["name"] == "parent"
ours = pools.current()
taken = threading.Event()


def hold():
    with ours.leases_for([])._lock:
        taken.set()
        threading.Event().wait()


threading.Thread(target=hold, daemon=True).start()
taken.wait()
pid = ctypes.PyDLL(None).fork()
if pid == 0:
    os._exit(SessionStore(key)["name"] != "parent")
print(os.waitpid(pid, 0)[1], flush=True)
os._exit(0)
"""


def test_a_lock_that_another_thread_held(session_redis):
    """The child does not wait for a lock that a thread of its parent held."""
    done = run(HELD, json.dumps(session_redis), named("parent"))
    assert done.stdout == "0\n"


# A process that forks in the middle of a command, in the handler of a signal. The child returns
# into the command and reads the reply, while its parent waits for it.
MIDWAY = """
import ctypes, json, os, signal, sys
from django.conf import settings

settings.configure(SESSION_REDIS=json.loads(sys.argv[1]))
from sessions_redis import clients
from sessions_redis.storage.steps import Command
from sessions_redis.exceptions import SessionStoreUnavailable

WAIT = Command(("BLPOP", sys.argv[2], 30), lambda reply: reply[1].decode(), repeatable=False)
forked = []


def fork(*received):
    forked.append(ctypes.PyDLL(None).fork())
    if forked != [0]:
        os.write(1, b"forked\\n")
        os.write(1, b"%d\\n" % os.waitpid(forked[0], 0)[1])


signal.signal(signal.SIGALRM, fork)
try:
    answer = clients.run(WAIT)
except SessionStoreUnavailable:
    answer = None
if forked == [0]:
    os._exit(answer is not None)
"""


def test_a_fork_amid_a_command(session_redis, server, raw, prefix):
    """The child never returns a reply that it read from its parent's connection."""
    session_redis = {**session_redis, "OPTIONS": {"client_name": prefix, "socket_timeout": 30}}

    def waiting():
        clients = raw.client_list()
        return [c["id"] for c in clients if c["name"] == prefix and c["cmd"] == "blpop"]

    with subprocess.Popen(
        [sys.executable, "-c", MIDWAY, json.dumps(session_redis), f"{prefix}:nothing"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        wait_until(waiting, "the command waits")
        (connection,) = waiting()
        parent.send_signal(signal.SIGALRM)
        assert parent.stdout.readline() == "forked\n"
        raw.rpush(f"{prefix}:nothing", "the parent's")
        assert parent.stdout.readline() == "0\n"
        raw.client_kill_filter(_id=connection)
        assert parent.wait(DEADLINE) == 0


# A process that forks while a thread runs a command of memory://, or while none does.
IN_MEMORY = """
import ctypes, os, sys
from django.conf import settings

settings.configure(SESSION_REDIS={"LOCATION": "memory://"})
from sessions_redis.clients import memory
from sessions_redis.engine import SessionStore

session = SessionStore()
session["name"] = "parent"
session.save()
lock = memory.servers["memory://"].lock
if sys.argv[1] == "held":
    lock.acquire()
pid = ctypes.PyDLL(None).fork()
if pid == 0:
    other = SessionStore()
    other["name"] = "child"
    other.save()
    found = SessionStore(session.session_key).get("name")
    os._exit({"parent": 1, None: 2}[found])
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
if sys.argv[1] == "held":
    lock.release()
assert SessionStore(session.session_key)["name"] == "parent"
"""


@pytest.mark.parametrize(("lock", "finds"), [("free", "1\n"), ("held", "2\n")])
def test_a_fork_in_memory(lock, finds):
    """
    The child has a copy of memory://, which changes independently.

    If a command was running during the fork, the child begins with an empty server, because nothing
    would finish that command.
    """
    assert run(IN_MEMORY, lock).stdout == finds


def test_a_lock_of_memory_that_is_never_released(monkeypatch):
    """In such a child, a location whose server stays locked gets another server."""
    monkeypatch.setattr(memory, "servers", {})
    made = [memory.server_at("memory://locked", process, Locked) for process in (1, 1, 2)]
    assert made[0] is made[1]
    assert made[2] is not made[1]


class Locked:
    """A server whose lock is free at first. Once acquired, it is never released."""

    def __init__(self):
        self.lock = self
        self.acquired = 0

    def acquire(self, timeout):
        self.acquired += 1
        return self.acquired == 1

    def release(self):
        pass


# A site whose master process answers a request before it forks its workers.
SITE = """
import json, os
from django.conf import settings

settings.configure(
    SESSION_REDIS=json.loads(os.environ["SITE_SESSION_REDIS"]),
    SESSION_ENGINE="sessions_redis.engine",
    MIDDLEWARE=["sessions_redis.middleware.SessionMiddleware"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="for tests alone",
    ALLOWED_HOSTS=["*"],
)
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.test import Client
from django.urls import path

from sessions_redis.clients import leases

leases.KEEP_SECONDS = 0.1
urlpatterns = [
    path("", lambda request: HttpResponse(f"{os.getpid()} {request.session['name']}"))
]
application = get_wsgi_application()
client = Client()
client.cookies["sessionid"] = os.environ["WARM"]
assert client.get("/").content.decode().endswith(" master")
"""


@pytest.fixture
def uwsgi(session_redis, tmp_path):
    """
    The address of that site. Four processes of uWSGI serve it, which runs no Python hook at a fork.
    """
    assert find_spec("pyuwsgi") or required("pyuwsgi")
    (tmp_path / "site_of_uwsgi.py").write_text(SITE)
    address = f"127.0.0.1:{free_port()}"
    options = (
        f"--http-socket {address} --module site_of_uwsgi --need-app --disable-logging "
        "--master --processes 4 --die-on-term"
    )
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", "import pyuwsgi; pyuwsgi.run()", *options.split()],
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": f"{tmp_path}:{ROOT}",
                "SITE_SESSION_REDIS": json.dumps(session_redis),
                "WARM": named("master"),
            },
            stdout=log,
            stderr=subprocess.STDOUT,
        )

    def answers():
        assert process.poll() is None, (tmp_path / "log").read_text()
        try:
            return bool(get(f"http://{address}", named("visitor")))
        except URLError:
            return False

    try:
        wait_until(answers, "uWSGI answers")
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(DEADLINE)


def get(url, session_key):
    """The process that answered, and the name in its session."""
    with urlopen(Request(url, headers={"Cookie": f"sessionid={session_key}"})) as answer:
        return answer.read().decode().split()


def test_uwsgi(uwsgi):
    """Each visitor gets an answer from their own session, from every process."""
    names = [f"visitor-{number}" for number in range(300)]
    keys = [named(name) for name in names]
    processes = set()
    for _ in range(2):
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda key: get(uwsgi, key), keys))
        assert [name for _, name in answers] == names
        processes |= {process for process, _ in answers}
        time.sleep(0.2)  # after each connection has been kept for its time
    assert len(processes) > 1
