"""
The load on a site: visitors on keep-alive connections, each asking again as soon as it is answered.

    python -m benchmarks.load < job.json

A process of its own, so that it takes nothing from the site's. It speaks just enough HTTP for the
site in `served`: a client library would cost more than the server that is measured.
"""

import asyncio
import json
import os
import re
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

# Seconds for all connections to get their first answer.
DEADLINE = 30.0

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


@dataclass(frozen=True)
class Job:
    """
    ``visitors``: for each connection the cookies it sends, as in a Cookie header, and the body it
    must be answered with. ``process``: the server's process, whose use of the CPU is told.
    ``cores``: those to run on, or none for any.
    """

    port: int
    path: str
    seconds: float
    process: int
    cores: list[int]
    visitors: list[tuple[str, str]]


@dataclass
class Outcome:
    """
    ``answers`` in ``seconds``; ``errors``: how often what was answered instead. ``server_cpu`` and
    ``load_cpu``: the share of one core that each process took; ``None`` where that is not known.
    """

    answers: int = 0
    seconds: float = 0.0
    errors: dict[str, int] = field(default_factory=dict)
    server_cpu: float | None = None
    load_cpu: float = 0.0


class Visitor(asyncio.Protocol):
    """One connection. It ends at the first wrong answer, having told the outcome."""

    def __init__(self, job: Job, cookies: str, body: str, outcome: Outcome) -> None:
        self.request = (
            f"GET {job.path} HTTP/1.1\r\nHost: 127.0.0.1:{job.port}\r\n"
            f"User-Agent: benchmarks\r\nCookie: {cookies}\r\n\r\n"
        ).encode()
        self.body = body.encode()
        self.outcome = outcome
        self.was_answered = asyncio.get_running_loop().create_future()
        self.has_ended = False
        self.received = b""

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, separator, body = self.received.partition(b"\r\n\r\n")
        if not separator:
            return
        length = _LENGTH.search(head + b"\r\n")
        if length and len(body) < int(length[1]):
            return
        if not head.startswith(b"HTTP/1.1 200 ") or body != self.body:
            status = head.partition(b"\r\n")[0].decode(errors="replace")
            self._failed(f"{status}, {body!r}" if length else status)
            return
        self.outcome.answers += 1
        self.received = b""
        self.transport.write(self.request)
        self._was_answered()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        if not self.has_ended:
            self._failed("the connection was closed")

    def end(self) -> None:
        self.has_ended = True
        self.transport.abort()

    def _failed(self, what: str) -> None:
        self.outcome.errors[what] = self.outcome.errors.get(what, 0) + 1
        self._was_answered()
        self.end()

    def _was_answered(self) -> None:
        if not self.was_answered.done():
            self.was_answered.set_result(None)


async def measured(job: Job) -> Outcome:
    """The outcome of ``job.seconds``, from when each connection has been answered once."""
    outcome = Outcome()
    visitors = [Visitor(job, cookies, body, outcome) for cookies, body in job.visitors]
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(DEADLINE):
        for visitor in visitors:
            await loop.create_connection(lambda one=visitor: one, "127.0.0.1", job.port)
        await asyncio.gather(*(visitor.was_answered for visitor in visitors))
    before, used, busy = outcome.answers, cpu_seconds(job.process), time.process_time()
    started = time.perf_counter()
    await asyncio.sleep(job.seconds)
    outcome.seconds = time.perf_counter() - started
    outcome.answers -= before
    outcome.load_cpu = (time.process_time() - busy) / outcome.seconds
    if used is not None:
        outcome.server_cpu = (cpu_seconds(job.process) - used) / outcome.seconds
    for visitor in visitors:
        visitor.end()
    return outcome


def cpu_seconds(process: int) -> float | None:
    with suppress(OSError):
        after_name = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")
    return None


def main() -> None:
    job = Job(**json.load(sys.stdin))
    if job.cores:
        os.sched_setaffinity(0, job.cores)
    print(json.dumps(asdict(asyncio.run(measured(job)))))


if __name__ == "__main__":
    main()
