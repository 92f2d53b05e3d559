"""
Visitors who are signed in and busy, each with several sessions.

A visitor always sends two requests of one session at the same time, which change two entries. Each
answer says what the entry was before, so it shows whether the update before that was lost.
"""

import asyncio
import json
import random
from collections import Counter
from dataclasses import dataclass, field

HEAD = "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: sessionid={key}\r\n\r\n"


@dataclass
class Visitor:
    """
    ``user``: the primary key of the user. ``keys``: those of the user's sessions. The first one is
    used all the time, the others begin one after the other.
    """

    user: int
    keys: list[str]
    written: Counter = field(default_factory=Counter)


@dataclass
class Outcome:
    """``signed_out``: answers to nobody or another user. ``otherwise``: answers other than 200."""

    answers: int = 0
    signed_out: int = 0
    lost: int = 0
    otherwise: Counter = field(default_factory=Counter)


class Visitors:
    """
    ``pause``: seconds between what a visitor does, on average. ``news``: how often, from 0 to 1, it
    is with a session that the visitor has not used before.
    """

    def __init__(self, port: int, visitors: list[Visitor], pause: float, news: float) -> None:
        self.port = port
        self.news = news
        self.visitors = visitors
        self.pause = pause
        self.outcome = Outcome()
        self.is_over = False

    async def visit(self) -> None:
        """Keep all visitors busy until ``is_over``. Then look at each session once more."""
        await asyncio.gather(*map(self._visit, self.visitors))

    async def _visit(self, visitor: Visitor) -> None:
        lines = [await Line.to(self.port), await Line.to(self.port)]
        chance = random.Random(visitor.user)
        waiting = visitor.keys[1:]
        try:
            while not self.is_over:
                await asyncio.sleep(chance.uniform(0, 2 * self.pause))
                known = len(visitor.keys) - len(waiting)
                is_new = waiting and chance.random() < self.news
                place = known if is_new else chance.randrange(known)
                if is_new:
                    waiting.pop(0)
                await asyncio.gather(
                    self._write(lines[0], visitor, place, "a"),
                    self._write(lines[1], visitor, place, "b"),
                )
            for place in range(len(visitor.keys)):
                for name in "ab":
                    await self._ask(lines[0], visitor, place, name, f"/read/{name}")
        finally:
            for line in lines:
                line.close()

    async def _write(self, line: "Line", visitor: Visitor, place: int, name: str) -> None:
        number = visitor.written[place, name] + 1
        await self._ask(line, visitor, place, name, f"/write/{name}/{number}")
        visitor.written[place, name] = number

    async def _ask(self, line: "Line", visitor: Visitor, place: int, name: str, path: str) -> None:
        status, answer = await line.ask(visitor.keys[place], path)
        self.outcome.answers += 1
        if status != 200:
            self.outcome.otherwise[status] += 1
            return
        self.outcome.signed_out += answer["user"] != visitor.user
        self.outcome.lost += answer["before"] != visitor.written[place, name]


class Line:
    """A connection that is kept."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def to(cls, port: int) -> "Line":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, key: str, path: str) -> tuple[int, dict]:
        self.writer.write(HEAD.format(method="GET", path=path, key=key).encode())
        head = await self.reader.readuntil(b"\r\n\r\n")
        lines = head.decode().lower().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:] if line)
        body = await self.reader.readexactly(int(headers["content-length"]))
        status = int(lines[0].split()[1])
        return status, json.loads(body) if status == 200 else {}

    def close(self) -> None:
        self.writer.close()
