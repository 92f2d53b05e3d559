"""Hearing of sessions that end, in other processes too, while connections come and go."""

import asyncio
import gc
import json
import logging
import re
import subprocess
import sys
import time
from contextlib import aclosing, suppress
from functools import partial
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured, SynchronousOnlyOperation

from sessions_redis import registry
from sessions_redis.clients import subscriptions
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.registry import EndedSession, MayHaveMissed
from tests.documents import blocks, text_of
from tests.hearing import Hearing, ended_now, id_of, signed_in
from tests.proxy import Relay
from tests.replicated import SERVICE, Sentinel
from tests.servers import DEADLINE, Server, free_port, server_binary, wait_until
from tests.tenancy import inside
from tests.topologies import OneSlot
from tests.workers import Worker


@pytest.fixture(autouse=True)
def session_redis(settings, session_redis):
    settings.SESSION_REDIS = {**session_redis, "EVENTS": True}
    return settings.SESSION_REDIS


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A server of this module, which tests restart."""
    limit = ["--client-output-buffer-limit", "pubsub 64kb 0 0"]
    server = Server(tmp_path_factory.mktemp("own"), *limit)
    yield server
    server.stop()


@pytest.fixture
def impatient(monkeypatch):
    """Silence is noticed soon."""
    monkeypatch.setattr(subscriptions, "SILENCE", 0.05)
    monkeypatch.setattr(subscriptions, "NODES_KNOWN", 0.05)


@pytest.fixture
def listeners(prefix):
    """Says how many connections to a server listen."""

    def count(server):
        with server.client() as client:
            ((_, number),) = client.pubsub_numsub(f"{prefix}:ended")
        return number

    return count


def test_another_process(session_redis):
    """A process hears of each session that ends in another one, in this order."""
    ids = [id_of(signed_in()) for _ in range(3)]
    worker = Worker(session_redis, "end_each", ids=ids, reason="a test")
    worker.wait_ready()
    with Hearing() as hearing:
        worker.begin()
        assert worker.result() == 3
        hearing.wait_for(*ids)
    assert hearing.heard == [
        MayHaveMissed(),
        *(EndedSession(id, "a test", "7", None) for id in ids),
    ]


def test_an_anonymous_session(live):
    """It has no user."""
    id = id_of(live)
    with Hearing() as hearing:
        live.flush()
        hearing.wait_for(id)
    assert hearing.heard[1:] == [EndedSession(id, "logged_out", None, None)]


def test_other_messages(raw, prefix):
    """It ignores messages that do not come from the engine."""
    with Hearing() as hearing:
        for message in ("", "hello", "x" * 70_000):
            raw.publish(f"{prefix}:ended", message)
        hearing.wait_for(ended_now())
    assert len(hearing.heard) == 2


def test_synchronous_code():
    """There is a blocking iterator. It refuses to block an event loop."""
    events = registry.ended()
    assert next(events) == MayHaveMissed()
    for _ in range(2):
        id = ended_now()
        assert next(events) == EndedSession(id, "ended", "7", None)
    events.close()

    async def block():
        registry.ended()

    with pytest.raises(SynchronousOnlyOperation, match="aended"):
        asyncio.run(block())


def test_the_examples(capsys, settings, session_redis, prefix):
    """The code of docs/events.md listens, and chooses the tenant to listen to."""
    code = blocks(text_of("docs/events.md"), "python")
    examples = [block for block in code if "def listen" in block and "class" not in block]
    listening, of_tenant = dict[str, Any](), dict[str, Any]()
    exec(examples[0], listening)
    exec(examples[1], of_tenant)

    async def run():
        task = asyncio.create_task(listening["listen"]())
        said = ""
        while "Listening" not in said:
            await asyncio.sleep(0.01)
            said += capsys.readouterr().out
        id = await asyncio.to_thread(ended_now)
        while f"{id} ended 7" not in said:
            await asyncio.sleep(0.01)
            said += capsys.readouterr().out
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(asyncio.wait_for(run(), DEADLINE))
    settings.SESSION_REDIS = {**session_redis, "KEY_PREFIX": "tests.tenancy.key_prefix"}

    async def hear():
        async with aclosing(of_tenant["listen_to"](prefix)) as events:
            assert await anext(events) == MayHaveMissed()
            with inside(prefix):
                await asyncio.to_thread(ended_now)
            assert (await anext(events)).tenant == prefix

    asyncio.run(hear())


def test_off(settings, session_redis):
    """Without the setting, the call raises at once and names it."""
    settings.SESSION_REDIS = {**session_redis, "EVENTS": False}
    for function in (registry.aended, registry.ended):
        with pytest.raises(ImproperlyConfigured, match='"EVENTS": True'):
            function()


def test_tenants(settings, session_redis, prefix):
    """It hears of the tenant that was current at the call."""
    settings.SESSION_REDIS = {**session_redis, "KEY_PREFIX": "tests.tenancy.key_prefix"}
    here, there = f"{prefix}:here", f"{prefix}:there"

    async def hear():
        with inside(here):
            listening = registry.aended()
        async with aclosing(listening) as events:
            assert await anext(events) == MayHaveMissed()
            ids = []
            for tenant in (there, here):
                with inside(tenant):
                    ids.append(await asyncio.to_thread(ended_now))
            assert await anext(events) == EndedSession(ids[1], "ended", "7", here)

    asyncio.run(hear())


# Ways to stop listening. ``held``: a list with what listens.


async def close(held):
    await held[0].aclose()


async def cancel(held):
    task = asyncio.ensure_future(anext(held[0]))
    await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    with pytest.raises(StopAsyncIteration):
        await anext(held[0])


async def drop(held):
    held.clear()
    gc.collect()


async def leave_it(held): ...


@pytest.mark.parametrize("stop", [close, cancel, drop, leave_it])
def test_stopping(server, listeners, stop):
    """Its connection is closed when it is closed, cancelled, dropped, or the loop ends."""
    held = []

    async def hear():
        held.append(registry.aended())
        assert await anext(held[0]) == MayHaveMissed()
        assert listeners(server) == 1
        await stop(held)

    asyncio.run(hear())
    wait_until(lambda: listeners(server) == 0, "the connection is closed")


# Connections that are lost


def test_a_restart(own, settings, session_redis, caplog):
    """It connects again, says that it may have missed something, and hears of further ends."""
    settings.SESSION_REDIS = {**session_redis, "LOCATION": own.url}
    with Hearing() as hearing:
        for times in (1, 2):
            own.process.kill()
            own.process.wait()
            wait_until(lambda count=times: len(caplog.messages) == count, "the loss is logged")
            own.start()
            hearing.wait_for_beginning(1 + times)
            hearing.wait_until_it_hears()
            time.sleep(0 if times == 2 else subscriptions.STEADY)
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    assert "does not hear of ended sessions" in caplog.text


def test_a_server_that_is_away_at_first(own, settings, session_redis):
    """It waits for the server."""
    settings.SESSION_REDIS = {**session_redis, "LOCATION": own.url}
    own.process.kill()
    own.process.wait()
    hearing = Hearing()
    hearing._thread.start()
    time.sleep(0.1)
    own.start()
    hearing.wait_for_beginning(1)
    hearing.wait_until_it_hears()
    hearing.__exit__()


def reset(relay):
    relay.reset_all()


def silence(relay):
    relay.silence_all()


def garble(relay):
    as_usual = relay.pass_reply

    def pass_garbage(client, reply):
        relay.pass_reply = as_usual
        client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    relay.pass_reply = pass_garbage


@pytest.mark.parametrize(
    ("disturb", "reason"),
    [(reset, "reset|closed"), (silence, "no answer within 1 seconds"), (garble, "not a reply")],
)
def test_a_lost_connection(server, redis_at, settings, impatient, caplog, disturb, reason):
    """It notices that a connection is of no use any more, and connects again."""
    with Relay(server.port) as relay:
        redis_at(relay.url, socket_timeout=1.0)
        settings.SESSION_REDIS = {**settings.SESSION_REDIS, "EVENTS": True}
        with Hearing() as hearing:
            disturb(relay)
            hearing.wait_for_beginning(2)
            hearing.wait_until_it_hears()
    assert re.search(reason, caplog.text)


def test_a_busy_process(server, redis_at, settings, impatient, monkeypatch):
    """An answer that arrives while code blocks the event loop is in time, however long that is."""
    with Relay(server.port) as relay:
        redis_at(relay.url, socket_timeout=1.0)
        settings.SESSION_REDIS = {**settings.SESSION_REDIS, "EVENTS": True}
        blocked = []

        def block_the_loop(client, reply):
            if b"pong" in reply.lower() and not blocked:
                monkeypatch.setattr(subscriptions, "SILENCE", DEADLINE)  # it asks no more
                hearing._loop.call_soon_threadsafe(time.sleep, 1.5)
                time.sleep(0.1)  # it blocks by now
                blocked.append(reply)
            client.sendall(reply)

        with Hearing() as hearing:
            relay.pass_reply = block_the_loop
            wait_until(lambda: blocked, "the event loop is blocked")
            settings.SESSION_REDIS = {**settings.SESSION_REDIS, "LOCATION": server.url}
            hearing.wait_for(ended_now())
        assert len(hearing.heard) == 2


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("allowed", ["+ping", "-ping"])
def test_a_silent_channel(own, settings, session_redis, impatient, protocol, allowed):
    """While nothing ends, the server's answers to PING keep the connection, even refusals."""
    url = own.url.replace("//", "//site:any@")
    options = {"protocol": protocol, "socket_timeout": DEADLINE}
    settings.SESSION_REDIS = {**session_redis, "LOCATION": url, "OPTIONS": options}
    with own.client() as client:
        rules = ["reset", "on", "nopass", "~*", "&*", "+@all", allowed]
        client.execute_command("ACL", "SETUSER", "site", *rules)
        client.config_resetstat()

        def is_asked():
            found = client.info("commandstats").get("cmdstat_ping", {})
            return found.get("calls", 0) + found.get("rejected_calls", 0) > 2

        with Hearing() as hearing:
            wait_until(is_asked, "it has asked several times")
            hearing.wait_for(ended_now())
        assert len(hearing.heard) == 2


def test_a_slow_consumer(own, settings, session_redis, prefix, listeners):
    """The server drops a listener that does not read. When it reads again, it learns of that."""
    settings.SESSION_REDIS = {**session_redis, "LOCATION": own.url}

    async def hear():
        async with aclosing(registry.aended()) as events:
            assert await anext(events) == MayHaveMissed()
            with own.client() as client:
                wait_until(lambda: publish(client) or not listeners(own), "it is dropped", 60)
            await asyncio.to_thread(ended_now)
            assert await anext(events) == MayHaveMissed()
            id = await asyncio.to_thread(ended_now)
            assert (await anext(events)).id == id

    def publish(client):
        client.publish(f"{prefix}:ended", "x" * 1_000_000)

    asyncio.run(hear())


@pytest.mark.parametrize("allowed", [["-subscribe", "&*"], ["resetchannels"]])
def test_a_user_who_may_not_listen(own, settings, session_redis, allowed):
    """Then it raises, and the error names the page with the permissions."""
    url = own.url.replace("//", "//deaf:any@")
    settings.SESSION_REDIS = {**session_redis, "LOCATION": url}
    with own.client() as client:
        rules = ["reset", "on", "nopass", "~*", "+@all", *allowed]
        client.execute_command("ACL", "SETUSER", "deaf", *rules)
    with pytest.raises(SessionStoreUnavailable, match=r"docs/redis\.md"):
        next(registry.ended())


# Sessions that are elsewhere


def test_another_master(server, own, settings, session_redis, tmp_path, impatient, listeners):
    """If the Sentinels name another master, it listens there, though the former one answers."""
    watching = f"sentinel monitor {SERVICE} 127.0.0.1 {own.port} 1"
    sentinel = Sentinel(tmp_path, free_port(), [watching], server_binary())
    location = f"redis+sentinel://127.0.0.1:{sentinel.port}/{SERVICE}/0"
    settings.SESSION_REDIS = {**session_redis, "LOCATION": location}
    try:
        with Hearing() as hearing:
            assert listeners(own) == 1
            sentinel.ask("REMOVE", SERVICE)
            sentinel.ask("MONITOR", SERVICE, "127.0.0.1", str(server.port), "1")
            hearing.wait_for_beginning(2)
            assert listeners(server) == 1
            hearing.wait_until_it_hears()
    finally:
        sentinel.stop()


def test_a_node_that_left(settings, session_redis, tmp_path_factory, impatient, listeners):
    """If a node serves no sessions any more, it listens to another, though that one answers."""
    folder = tmp_path_factory.mktemp
    nodes = [Server(folder("node"), "--cluster-enabled", "yes") for _ in range(2)]
    url = "redis+cluster://" + ",".join(f"127.0.0.1:{one.port}" for one in nodes)
    settings.SESSION_REDIS = {**session_redis, "LOCATION": url}
    try:
        for node in nodes:
            with node.client() as client:
                client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
                wait_until(partial(OneSlot.is_ready, client), "the node serves its slots")
        with Hearing() as hearing:
            left, other = nodes if listeners(nodes[0]) else reversed(nodes)
            with left.client() as client:

                def is_asked():
                    return "ping" in {one["cmd"] for one in client.client_list(_type="pubsub")}

                wait_until(is_asked, "it has asked which nodes there are, and then the node")
                assert hearing.beginnings == 1
                client.execute_command("CLUSTER DELSLOTSRANGE", 0, 16383)
            hearing.wait_for_beginning(2)
            assert listeners(other) == 1
            hearing.wait_until_it_hears()
    finally:
        for node in nodes:
            node.stop()


def test_another_event_loop(session_redis):
    """A generator that goes on in another event loop needs a connection of that loop."""
    with asyncio.Runner() as first, asyncio.Runner() as second:
        events = registry.aended()
        assert first.run(anext(events)) == second.run(anext(events)) == MayHaveMissed()
        id = ended_now()
        assert second.run(anext(events)).id == id
        second.run(events.aclose())
        ((_, connection),) = subscriptions._of_parents
        subscriptions._of_parents.clear()
        first.run(connection.disconnect())


# A process that listens and forks. It and its child print what they hear.
FORKING = """
import asyncio, ctypes, json, os, sys
from django.conf import settings

settings.configure(SESSION_REDIS=json.loads(sys.argv[1]))
from sessions_redis import registry

events = registry.aended()
runner = asyncio.Runner()
assert runner.run(events.__anext__()) == registry.MayHaveMissed()
child = os.fork() if sys.argv[2] == "os" else ctypes.PyDLL(None).fork()
try:
    if child == 0:
        runner = asyncio.Runner()
        assert runner.run(events.__anext__()) == registry.MayHaveMissed()
    os.write(1, b"listens\\n")
    os.write(1, f"{runner.run(events.__anext__()).id}\\n".encode())
    runner.run(events.aclose())
finally:
    if child == 0:
        os._exit(0)
os.waitpid(child, 0)
"""


@pytest.mark.parametrize("way", ["os", "C"])
def test_a_fork(server, session_redis, listeners, way):
    """A forked process goes on listening on a connection of its own, and its parent on its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", FORKING, json.dumps(session_redis), way],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert [process.stdout.readline() for _ in range(2)] == ["listens\n"] * 2
        assert listeners(server) == 2
        id = ended_now()
        assert [process.stdout.readline() for _ in range(2)] == [f"{id}\n"] * 2
        assert process.wait(DEADLINE) == 0
    finally:
        process.kill()
        process.communicate()
