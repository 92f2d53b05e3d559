"""Where the time of a read goes: from the bare socket up to the session, in either world."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import redis
import redis.asyncio

from benchmarks.actions import made
from benchmarks.bench import Bench, Table
from benchmarks.contents import SIGNED_IN
from benchmarks.engines import OURS, CannotMeasureError
from benchmarks.samples import Samples, in_turn

# Reads of one block.
NUMBER = 300

SOCKET = "bare socket"
CONNECTION = "a connection of redis-py, kept"
COMMAND = "the engine's command"
STORE = "the engine's read"
CLIENT = "Redis.hgetall of redis-py"

WORLDS = SYNC, ASYNC = ("sync", "async")

LAYERS = (SOCKET, CONNECTION, COMMAND, STORE, CLIENT)

Read = Callable[[], Any]
AsyncRead = Callable[[], Awaitable[Any]]


def measure(bench: Bench) -> list[Table]:
    samples = Samples()
    with OURS.active():
        session = made(OURS.store, SIGNED_IN["small"])
        _sync(bench, session, samples)
        asyncio.run(_async(bench, session, samples))
        session.delete()
    times = samples.medians(LAYERS, WORLDS, 1e6)
    rows = tuple(
        (layer, *(cell for world, taken in zip(WORLDS, of_layer, strict=True)
                  for cell in (taken, samples.ratio(layer, world, (SOCKET, world)))))
        for layer, *of_layer in times
    )  # fmt: skip
    return [
        Table(
            "layers",
            "Where the time of a read goes: a small session",
            "µs, and the ratio to the bare socket",
            ("sync", "sync, to the socket", "async", "async, to the socket"),
            rows,
            plot=False,
            note="Each line does what the one above it does, and more: redis-py packs the request "
            "and parses the reply; the command takes a connection, retries after a failure and "
            "recognizes errors; the read makes a SessionStore and decodes one entry. The last "
            f"line is for comparison. Medians of {bench.rounds} rounds of {NUMBER} reads each.",
        )
    ]


def _sync(bench: Bench, session: Any, samples: Samples) -> None:
    from sessions_redis import clients

    name, command = _named(session)
    request = _request(name)
    with _socket(bench.redis_url) as bare, redis.Redis.from_url(bench.redis_url) as client:
        connection = client.connection_pool.get_connection()

        def on_connection() -> None:
            connection.send_packed_command(connection.pack_command("HGETALL", name))
            connection.read_response()

        def on_socket() -> None:
            bare.sendall(request)
            bare.recv(65536)

        reads: dict[str, Read] = {
            SOCKET: on_socket,
            CONNECTION: on_connection,
            COMMAND: lambda: clients.run(command),
            STORE: lambda: OURS.store(session.session_key)["color"],
            CLIENT: lambda: client.hgetall(name),
        }
        for number in range(bench.rounds):
            bench.progress(f"layers, sync: round {number + 1} of {bench.rounds}")
            for layer in in_turn(LAYERS, number):
                read = reads[layer]
                read()
                began = time.perf_counter()
                for _ in range(NUMBER):
                    read()
                samples.add(layer, SYNC, (time.perf_counter() - began) / NUMBER)
        client.connection_pool.release(connection)


async def _async(bench: Bench, session: Any, samples: Samples) -> None:
    from sessions_redis import clients

    name, command = _named(session)
    request = _request(name)
    reader, writer = await asyncio.open_connection(sock=_socket(bench.redis_url))
    async with redis.asyncio.Redis.from_url(bench.redis_url) as client:
        connection = await client.connection_pool.get_connection()

        async def on_socket() -> None:
            writer.write(request)
            await reader.read(65536)

        async def on_connection() -> None:
            await connection.send_packed_command(connection.pack_command("HGETALL", name))
            await connection.read_response()

        reads: dict[str, AsyncRead] = {
            SOCKET: on_socket,
            CONNECTION: on_connection,
            COMMAND: lambda: clients.arun(command),
            STORE: lambda: OURS.store(session.session_key).aget("color"),
            CLIENT: lambda: client.hgetall(name),
        }
        for number in range(bench.rounds):
            bench.progress(f"layers, async: round {number + 1} of {bench.rounds}")
            for layer in in_turn(LAYERS, number):
                read = reads[layer]
                await read()
                began = time.perf_counter()
                for _ in range(NUMBER):
                    await read()
                samples.add(layer, ASYNC, (time.perf_counter() - began) / NUMBER)
        await client.connection_pool.release(connection)
    writer.close()
    await writer.wait_closed()


def _named(session: Any) -> tuple[str, Any]:
    """The session's name in Redis, and the engine's command that loads it."""
    from sessions_redis import conf
    from sessions_redis.storage import commands

    id = commands.session_id(session.session_key)
    keyspace = conf.current().keyspace
    return keyspace.session(id), commands.load(keyspace, id)


def _request(name: str) -> bytes:
    return f"*2\r\n$7\r\nHGETALL\r\n${len(name)}\r\n{name}\r\n".encode()


def _socket(redis_url: str) -> socket.socket:
    """A connection for requests as they are, signed in and at the URL's database."""
    if urlsplit(redis_url).scheme == "rediss":
        raise CannotMeasureError("the bare socket speaks no TLS; use redis:// or unix://.")
    options = redis.ConnectionPool.from_url(redis_url).connection_kwargs
    if "path" in options:
        connected = socket.socket(socket.AF_UNIX)
        connected.connect(options["path"])
    else:
        connected = socket.create_connection(
            (options.get("host", "127.0.0.1"), options.get("port", 6379))
        )
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    credentials = [options[name] for name in ("username", "password") if options.get(name)]
    if credentials:
        _told(connected, "AUTH", *credentials)
    _told(connected, "SELECT", options.get("db", 0))
    return connected


def _told(connected: socket.socket, *words: Any) -> None:
    connected.sendall(b"".join(redis.Connection().pack_command(*words)))
    reply = connected.recv(4096)
    if reply != b"+OK\r\n":
        raise CannotMeasureError(f"the server answers {reply.decode()!r} to {words[0]}.")
