"""Blocks of one action with one engine: prepared, timed, cleared away."""

import asyncio
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from benchmarks.actions import Action, Session, check, made
from benchmarks.engines import Engine
from benchmarks.samples import stopwatch


class Block:
    """
    Runs ``action`` with ``engine``, which must be active, on sessions of ``size``.

    With ``runner`` asynchronously, in its loop; preparing is never timed and always synchronous.
    ``around``: what to enter for the timed part alone.
    """

    def __init__(
        self,
        engine: Engine,
        action: Action,
        size: str,
        runner: asyncio.Runner | None = None,
        around: AbstractContextManager[None] | None = None,
    ) -> None:
        self.store = engine.store
        self.action = action
        self.contents = action.contents(size)
        self.runner = runner
        self.around = around or nullcontext()

    def check(self) -> None:
        """Raise ``AssertionError`` unless the engine does what the action says."""
        session = made(self.store, self.contents)
        key = session.session_key
        (result,), _ = self._timed([self.action.prepared(self.store, key)])
        check(self.action, self.store, key, result, self.contents)
        for ended in (session, result):
            ended.delete()

    def seconds(self, number: int) -> float:
        """What one of ``number`` took."""
        sessions = self._sessions(number)
        keys = [session.session_key for session in sessions]
        subjects = [
            self.action.prepared(self.store, keys[index % len(keys)]) for index in range(number)
        ]
        results, seconds = self._timed(subjects)
        for session in [*sessions, *results]:
            if session.session_key:
                session.delete()
        return seconds / number

    def _sessions(self, number: int) -> list[Session]:
        return [
            made(self.store, self.contents)
            for _ in range(number if self.action.needs_own_session else 1)
        ]

    def _timed(self, subjects: list[Any]) -> tuple[list[Session], float]:
        if self.runner is not None:
            return self.runner.run(self._atimed(subjects))
        run, contents = self.action.run, self.contents
        with self.around, stopwatch() as elapsed:
            results = [run(subject, contents) for subject in subjects]
            return results, elapsed()

    async def _atimed(self, subjects: list[Any]) -> tuple[list[Session], float]:
        arun, contents = self.action.arun, self.contents
        with self.around, stopwatch() as elapsed:
            results = [await arun(subject, contents) for subject in subjects]
            return results, elapsed()
