"""Carries out many steps side by side, so that they share their round trips. Pure."""

from collections.abc import Sequence
from typing import Any, TypeVar

from sessions_redis.storage.steps import Command, GiveUp, Pause, Steps, Undoable

T = TypeVar("T")


def together(all_steps: Sequence[Steps[T]]) -> Steps[list[T]]:
    """
    Carry out all of these steps, and return their results in the same order.

    What each yields next is one round trip for all of them, which takes as long as the slowest. If
    one gives up, all do. None of them may yield an ``Undoable``.
    """
    results: dict[int, T] = {}
    answers: dict[int, Any] = dict.fromkeys(range(len(all_steps)))
    while answers:
        yielded: dict[int, Command[Any] | list[Command[Any]] | Pause] = {}
        for place, answer in answers.items():
            try:
                step = all_steps[place].send(answer)
            except StopIteration as stop:
                results[place] = stop.value
                continue
            if isinstance(step, GiveUp):
                yield step  # which raises
            if isinstance(step, GiveUp | Undoable):
                raise TypeError(f"{type(step).__name__} cannot be carried out side by side.")
            yielded[place] = step
        answers = yield from _round(yielded)
    return [results[place] for place in range(len(all_steps))]


def _round(yielded: dict[int, Any]) -> Steps[dict[int, Any]]:
    """Send what all have yielded, and return the answers to each."""
    pauses = [step.seconds for step in yielded.values() if isinstance(step, Pause)]
    if pauses:
        yield Pause(max(pauses))
    commands: list[Command[Any]] = []
    ranges: dict[int, slice] = {}
    for place, step in yielded.items():
        if isinstance(step, list):
            ranges[place] = slice(len(commands), len(commands) + len(step))
            commands += step
        elif not isinstance(step, Pause):
            ranges[place] = slice(len(commands), len(commands) + 1)
            commands.append(step)
    answers = (yield commands) if commands else []
    return {place: _answer(step, answers, ranges.get(place)) for place, step in yielded.items()}


def _answer(step: Any, answers: list[Any], where: slice | None) -> Any:
    if where is None:
        return None
    return answers[where] if isinstance(step, list) else answers[where][0]
