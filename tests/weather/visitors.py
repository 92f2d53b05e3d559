"""
Visitors of a site, who remember what the site has acknowledged.

Each visitor sends one request at a time. So the visitor knows who is signed in, and what the
session has to hold.
"""

import asyncio
import random
import time
from collections import deque
from dataclasses import dataclass, field
from http.client import parse_headers
from http.cookies import SimpleCookie
from io import BytesIO
from itertools import count

from tests.weather.serving import USERS, Site
from tests.weather.site import NOBODY

# Seconds after which a visitor gives up. Longer than any weather.
PATIENCE = 60.0

# Seconds that each of the visitors at a time waits between two requests.
PAUSE = 0.1

COOKIE = "sessionid"

_tokens = count()


@dataclass(frozen=True)
class Response:
    """``status`` is 0 if there was no answer. ``cookie``: the new one, "" if it was deleted."""

    status: int
    body: str = ""
    cookie: str | None = None


async def fetch(port: int, path: str, cookie: str | None) -> Response:
    sent = f"GET /{path} HTTP/1.0\r\nHost: localhost\r\n"
    if cookie:
        sent += f"Cookie: {COOKIE}={cookie}\r\n"
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(f"{sent}\r\n".encode())
                received = await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return Response(0)
    return _response(received) if received else Response(0)


def _response(received: bytes) -> Response:
    head, _, body = received.partition(b"\r\n\r\n")
    first, _, lines = head.partition(b"\r\n")
    cookie = None
    for line in parse_headers(BytesIO(lines + b"\r\n\r\n")).get_all("Set-Cookie", []):
        morsel = SimpleCookie(line).get(COOKIE)
        if morsel is not None:
            cookie = "" if morsel["max-age"] == "0" else morsel.value
    return Response(int(first.split()[1]), body.decode(), cookie)


@dataclass
class Visitor:
    """
    ``is_signed_in``: ``None`` if a failed request may have changed that. ``writes``: entries that
    the site acknowledged. ``increments``: those that were sent, and whether acknowledged.
    ``ended``: the keys of sessions that the site has ended. ``times_signed_out``: how often the
    visitor was signed out without having asked for it.
    """

    name: str
    cookie: str | None = None
    is_signed_in: bool | None = False
    writes: set[str] = field(default_factory=set)
    increments: dict[str, bool] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    times_signed_out: int = 0

    def chosen(self) -> str:
        """What the visitor does next."""
        if self.is_signed_in is None:
            return "who"
        if not self.is_signed_in:
            return "login" if self.cookie else "greet"
        actions, weights = ("who", "write", "increment", "logout"), (50, 25, 20, 5)
        return random.choices(actions, weights)[0]

    async def do(self, action: str, port: int) -> Response:
        path, token, key = action, str(next(_tokens)), self.cookie
        if action == "login":
            path = f"login/{self.name}"
        elif action in {"write", "increment"}:
            path = f"{action}/{token}"
        if action == "increment":
            self.increments[f"hit-{token}"] = False
        response = await fetch(port, path, key)
        if response.cookie is not None:
            self.cookie = response.cookie or None
        self._learn(action, token, key, response)
        return response

    def _learn(self, action: str, token: str, key: str | None, response: Response) -> None:
        if response.status != 200:
            if action in {"login", "logout"}:
                self.is_signed_in = None
        elif action in {"login", "logout"}:
            self.ended += [key] if key else []
            self._begin(is_signed_in=action == "login")
        elif action == "greet":
            pass
        elif response.body == NOBODY:
            self.times_signed_out += bool(self.is_signed_in)
            self._begin(is_signed_in=False)
        else:
            assert response.body == self.name, f"{self.name} is taken for {response.body}"
            self.is_signed_in = True
            if action == "write":
                self.writes.add(f"write-{token}")
            if action == "increment":
                self.increments[f"hit-{token}"] = True

    def _begin(self, *, is_signed_in: bool) -> None:
        self.is_signed_in = is_signed_in
        self.writes.clear()
        self.increments.clear()

    async def sign_in(self, port: int) -> bool:
        """Try a few times. Returns whether the visitor is signed in."""
        for _ in range(10):
            if self.is_signed_in:
                break
            await self.do(self.chosen(), port)
        return bool(self.is_signed_in)


@dataclass(frozen=True)
class Answer:
    """Times are those of `time.monotonic`."""

    action: str
    status: int
    sent: float
    received: float


class Crowd:
    """All visitors of a site. ``at_a_time`` of them send requests at the same time."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.visitors = [Visitor(f"user-{number}") for number in range(USERS)]
        self.answers: list[Answer] = []
        self._waiting = deque(self.visitors)
        self._in_flight: dict[int, float] = {}
        self._ends = False

    async def sign_in(self) -> int:
        """Sign all of them in. Returns how many are."""
        gate = asyncio.Semaphore(self.site.at_a_time)

        async def one(visitor: Visitor) -> bool:
            async with gate:
                return await visitor.sign_in(self.site.port)

        return sum(await asyncio.gather(*map(one, self.visitors)))

    async def visit(self) -> None:
        """Send requests until told to end."""
        await asyncio.gather(*(self._visit(number) for number in range(self.site.at_a_time)))

    def end(self) -> None:
        self._ends = True

    async def _visit(self, number: int) -> None:
        while not self._ends:
            visitor = self._waiting.popleft()
            action = visitor.chosen()
            self._in_flight[number] = sent = time.monotonic()
            response = await visitor.do(action, self.site.port)
            del self._in_flight[number]
            self.answers.append(Answer(action, response.status, sent, time.monotonic()))
            self._waiting.append(visitor)
            await asyncio.sleep(PAUSE)

    def last_failure(self) -> float:
        return max((one.received for one in self.answers if is_failure(one)), default=0.0)

    def oldest_in_flight(self) -> float:
        return min(self._in_flight.values(), default=time.monotonic())

    def keys(self) -> list[str]:
        """The keys of all sessions, as the visitors' cookies have them."""
        return [visitor.cookie for visitor in self.visitors if visitor.cookie]


def is_failure(answer: Answer) -> bool:
    return answer.status == 0 or answer.status >= 500
