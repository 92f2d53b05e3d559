"""An outage is logged as an error only when it begins and when it ends, and mailed as often."""

import asyncio
import json
import logging
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from pathlib import Path
from time import monotonic, sleep

import django
import pytest
from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.contrib.auth.models import User
from django.core import mail
from django.core.management import CommandError, call_command
from django.http import HttpResponse
from django.test import AsyncClient, Client
from django.urls import path
from django.utils.log import AdminEmailHandler
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from sessions_redis import conf, registry
from sessions_redis.clients.outages import Outages
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.storage import commands
from sessions_redis.storage.keyspaces import Keyspace
from tests.servers import Server
from tests.site import use_site
from tests.visits import visit

ROOT = Path(__file__).parent.parent
ADMIN = "ada@example.com" if django.VERSION >= (6,) else ("Ada", "ada@example.com")
SECRET = "pa55w0rd"

THREADS = 8
VISITS = 200


def read(request):
    return HttpResponse(request.session.get("color"))


async def aread(request):
    return HttpResponse(await request.session.aget("color"))


def answer(request):
    """A view that handles the error itself."""
    try:
        return read(request)
    except SessionStoreUnavailable:
        return HttpResponse(status=503)


async def aanswer(request):
    try:
        return await aread(request)
    except SessionStoreUnavailable:
        return HttpResponse(status=503)


def nothing(request):
    return HttpResponse("red")


urlpatterns = [
    path("WSGI/read", read),
    path("ASGI/read", aread),
    path("WSGI/answer", answer),
    path("ASGI/answer", aanswer),
    path("reads-first/", nothing),
]


def reads_first(get_response):
    async def areading(request):
        if request.path.startswith("/reads-first/"):
            await request.session.aget("color")
        return await get_response(request)

    def reading(request):
        if request.path.startswith("/reads-first/"):
            request.session.get("color")
        return get_response(request)

    return markcoroutinefunction(areading) if iscoroutinefunction(get_response) else reading


reads_first.async_capable = reads_first.sync_capable = True


@pytest.fixture
def redis(settings, session_redis, tmp_path):
    """A server of the test's own, with a password that no mail may contain."""
    server = Server(tmp_path, "--appendonly", "yes", "--appendfsync", "always")
    settings.SESSION_REDIS = {
        **session_redis,
        "LOCATION": server.url.replace("//", f"//default:{SECRET}@"),
        # A stopped server refuses connections at once. A running one may be slow.
        "OPTIONS": {
            "retry": Retry(NoBackoff(), 2),
            "socket_timeout": 20.0,
            "socket_connect_timeout": 20.0,
            "timeout": 20.0,
        },
    }
    yield server
    if server.process.poll() is None:
        server.stop()


@pytest.fixture
def site(settings, redis):
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = ["sessions_redis.middleware.SessionMiddleware", f"{__name__}.reads_first"]
    settings.ADMINS = [ADMIN]
    return settings


@pytest.fixture
def red(redis):
    session = SessionStore()
    session["color"] = "red"
    session.save()
    return session.session_key


def errors(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


def visit_often_under_wsgi(key):
    def visit(number):
        client = Client(raise_request_exception=False)
        client.cookies["sessionid"] = key
        return client.get(PATHS["WSGI"][number % 3]).status_code

    with ThreadPoolExecutor(THREADS) as threads:
        return set(threads.map(visit, range(VISITS)))


def visit_often_under_asgi(key):
    async def visit(number):
        client = AsyncClient(raise_request_exception=False)
        client.cookies["sessionid"] = key
        return (await client.get(PATHS["ASGI"][number % 3])).status_code

    async def visits():
        return await asyncio.gather(*map(visit, range(VISITS)))

    # This does not run in the context of the test, which asgiref copies, variable by variable, for
    # each call in a thread. All earlier tests have left variables there.
    return set(Context().run(asyncio.run, visits()))


PATHS = {
    world: [f"/{world}/read", f"/{world}/answer", "/reads-first/"] for world in ("WSGI", "ASGI")
}


@pytest.mark.parametrize("visit_often", [visit_often_under_wsgi, visit_often_under_asgi])
def test_one_error_begins_an_outage_and_one_ends_it(site, redis, red, caplog, visit_often):
    """Hundreds of requests at a time are answered with 503, and only two mails are sent."""
    assert visit_often(red) == {200}
    assert errors(caplog) == []
    redis.stop()
    assert visit_often(red) == {503}
    (begins,) = errors(caplog)
    assert begins.startswith(f"Sessions cannot be reached. Redis at {redis.url} does not answer")
    redis.start()
    assert visit_often(red) == {200}
    assert visit_often(red) == {200}
    (_, ends) = errors(caplog)
    assert ends.startswith("Redis answers again. Sessions could not be reached for ")
    assert [message.subject.partition(": ")[2][:20] for message in mail.outbox] == [
        begins[:20],
        ends[:20],
    ]
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == VISITS


def test_a_server_that_hangs(site, redis, red, caplog):
    """With more threads than connections, the only error is that Redis does not answer."""
    options = {"max_connections": 2, "timeout": 0.05, "socket_timeout": 0.3}
    site.SESSION_REDIS = {**site.SESSION_REDIS, "OPTIONS": options}
    redis.process.send_signal(signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(THREADS) as threads:
            answers = threads.map(lambda _: visit("WSGI", "/WSGI/read", red), range(2 * THREADS))
            assert {answer.status_code for answer in answers} == {503}
    finally:
        redis.process.send_signal(signal.SIGCONT)
    (begins,) = errors(caplog)
    assert "does not answer" in begins
    assert len(mail.outbox) == 1


def test_the_content_of_a_mail(site, redis, caplog):
    """A mail contains no settings, so neither LOCATION nor its password, also in HTML."""
    handler = AdminEmailHandler(include_html=True)
    logging.getLogger("django.request").addHandler(handler)
    try:
        redis.stop()
        key = "x" * 32
        assert Client().get("/WSGI/read", headers={"cookie": f"sessionid={key}"}).status_code == 503
    finally:
        logging.getLogger("django.request").removeHandler(handler)
    in_html, plain = mail.outbox
    for message in (in_html, plain):
        assert f"Redis at {redis.url} does not answer" in message.body
        assert "Request data not supplied" in message.body
    for text in (*(str(message.message()) for message in mail.outbox), caplog.text):
        assert SECRET not in text
        assert "SESSION_REDIS =" not in text
        assert key not in text
    assert in_html.alternatives
    assert len(plain.body) < 4000


def test_a_command_notices(site, redis, red, caplog):
    """The first command in any part of the site notices the outage, and another one its end."""
    redis.stop()
    with pytest.raises(CommandError, match="does not answer"):
        call_command("sessionstats")
    assert len(errors(caplog)) == len(mail.outbox) == 1
    with pytest.raises(SessionStoreUnavailable):
        registry.count()
    redis.start()
    registry.count()
    assert len(errors(caplog)) == len(mail.outbox) == 2


@pytest.mark.django_db
def test_every_page(settings, redis, caplog):
    """No page of this app sends a mail of its own."""
    use_site(settings)
    settings.ADMINS = [ADMIN]
    admin = User.objects.create_superuser("admin")
    browser = Client()
    browser.force_login(admin)
    paths = ["/", "/api/user/ada", "/api/sessions/", "/account/sessions/", "/admin/"]
    paths.append("/admin/sessions_redis/session/")
    assert {browser.get(path).status_code for path in paths} == {200}
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    by_database = Client()
    by_database.force_login(admin)
    redis.stop()
    asking = ["/api/sessions/", "/account/sessions/", "/admin/sessions_redis/session/"]
    assert {by_database.get(path).status_code for path in asking} == {503}
    settings.SESSION_ENGINE = "sessions_redis.engine"
    assert {browser.get(path).status_code for path in paths} == {503}
    assert len(errors(caplog)) == len(mail.outbox) == 1


# A server that answers and refuses commands


def test_a_server_that_is_full(site, redis, red, caplog):
    """The outage begins with the first refused write. It ends when Redis runs a write."""
    with redis.client() as client:
        client.config_set("maxmemory", "1")
        for number in range(5):
            session = SessionStore(red)
            session["number"] = number
            with pytest.raises(SessionStoreUnavailable):
                session.save()
            with pytest.raises(SessionStoreUnavailable):
                SessionStore().create()
        client.config_set("maxmemory", "0")
    (begins,) = errors(caplog)
    assert begins.startswith(f"Sessions cannot be reached. Redis at {redis.url} refused a command")
    assert SessionStore(red)["color"] == "red"
    assert len(errors(caplog)) == 1
    session.save()
    session.save()
    (_, ends) = errors(caplog)
    assert ends.startswith("Redis accepts commands again. It had refused them for ")
    assert len(mail.outbox) == 2


def test_a_full_server_that_goes_away(site, redis, red, caplog):
    """These are two outages. When Redis refuses a command, it can be reached again."""
    session = SessionStore(red)
    session["color"] = "blue"
    with redis.client() as client:
        client.config_set("maxmemory", "1")
    with pytest.raises(SessionStoreUnavailable):
        session.save()
    redis.stop()
    with pytest.raises(SessionStoreUnavailable):
        session.save()
    redis.start()
    with redis.client() as client:
        client.config_set("maxmemory", "1")
    with pytest.raises(SessionStoreUnavailable):
        session.save()
    assert [line.partition(".")[0] for line in errors(caplog)] == [
        "Sessions cannot be reached",
        "Sessions cannot be reached",
        "Redis answers again",
    ]


def test_damage_is_not_an_outage(site, redis, caplog):
    """A damaged index is only logged in warnings, which send no mail."""
    with redis.client() as client:
        client.set(f"{conf.current().key_prefix}:index", "damaged")
    with pytest.raises(SessionStoreUnavailable, match="a key that should be an index"):
        registry.count()
    assert errors(caplog) == mail.outbox == []


def test_load_is_not_an_outage(caplog):
    """More requests at a time than connections are not an outage either."""
    busy = SessionStoreUnavailable("All connections of this process are in use.")
    busy.__cause__ = RedisConnectionError("No connection available.")
    Outages().failed(busy, ASKED, now())
    assert errors(caplog) == []


# Late results


AWAY = SessionStoreUnavailable("Redis is away.")
ASKED = [commands.exists(Keyspace("any"), "0" * 32)]


def test_late_results(caplog):
    """The result of a command that was sent before an outage began or ended changes nothing."""
    outages = Outages()
    early = now()
    outages.failed(AWAY, ASKED, now())
    outages.answered(ASKED, early)
    assert len(errors(caplog)) == 1
    meanwhile = now()
    outages.answered(ASKED, now())
    outages.answered(ASKED, now())
    outages.failed(AWAY, ASKED, meanwhile)
    assert len(errors(caplog)) == 2
    outages.failed(AWAY, ASKED, now())
    assert len(errors(caplog)) == 3


def test_failures_while_a_line_is_written(caplog):
    """
    Other threads do not wait for the thread that writes the log line, which may be sending a mail.
    """
    outages = Outages()

    class Meanwhile(logging.Handler):
        def emit(self, record):
            outages.failed(AWAY, ASKED, now())
            outages.answered(ASKED, now())

    logger, handler = logging.getLogger("django.request"), Meanwhile()
    logger.addHandler(handler)
    try:
        outages.failed(AWAY, ASKED, now())
        outages.answered(ASKED, now())
    finally:
        logger.removeHandler(handler)
    assert len(errors(caplog)) == 2


def now():
    """A moment after the last one."""
    sleep(0.001)
    return monotonic()


def test_a_handler_that_fails(caplog):
    """The handler fails once for each outage, and not once for each request."""
    outages = Outages()

    class Fails(logging.Handler):
        def emit(self, record):
            raise ConnectionRefusedError

    logger, handler = logging.getLogger("django.request"), Fails()
    logger.addHandler(handler)
    try:
        with pytest.raises(ConnectionRefusedError):
            outages.failed(AWAY, ASKED, now())
        outages.failed(AWAY, ASKED, now())
        with pytest.raises(ConnectionRefusedError):
            outages.answered(ASKED, now())
        outages.answered(ASKED, now())
    finally:
        logger.removeHandler(handler)


# A process that forks during an outage that its parent has logged. The fork logs the outage once
# more. It logs the end only if it logged the beginning.
FORKS = """
import json
import logging
import os
import sys

from django.conf import settings

settings.configure(SESSION_REDIS=json.loads(sys.argv[1]), ADMINS=[])
lines = []


class Keep(logging.Handler):
    def emit(self, record):
        lines.append(record.getMessage().split(".")[0])


logging.getLogger("django.request").addHandler(Keep())
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable


def ask():
    try:
        SessionStore().exists("x" * 32)
    except SessionStoreUnavailable:
        pass


def in_child():
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        lines.clear()
        ask()
        ask()
        with os.fdopen(writing, "w") as pipe:
            json.dump(lines, pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = json.load(pipe)
    assert os.waitpid(child, 0)[1] == 0
    return said


ask()
print(json.dumps([lines, in_child()]), flush=True)
sys.stdin.readline()
print(json.dumps([in_child(), in_child()]), flush=True)
"""


def test_a_fork(session_redis, tmp_path):
    """Each process logs only outages that it has met itself, regardless of its parent."""
    server = Server(tmp_path)
    server.stop()
    process = subprocess.Popen(
        [
            *(sys.executable, "-W", "error", "-c", FORKS),
            json.dumps({**session_redis, "LOCATION": server.url}),
        ],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        begins = ["Sessions cannot be reached"]
        assert json.loads(process.stdout.readline()) == [begins, begins]
        server.start()
        out, _ = process.communicate("go on\n", timeout=60)
        assert json.loads(out) == [[], []]
    finally:
        process.kill()
        process.wait()
        server.stop()
