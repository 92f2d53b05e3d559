"""Many steps that are carried out side by side."""

import pytest

from sessions_redis.storage.steps import Command, GiveUp, Pause, Undoable
from sessions_redis.storage.together import together


def command(name):
    return Command((name,), read=str)


def carried_out(steps):
    """What the steps yield, where each command answers its own name, and their result."""
    yielded, answer = [], None
    while True:
        try:
            step = steps.send(answer)
        except StopIteration as stop:
            return yielded, stop.value
        is_list = isinstance(step, list)
        yielded.append([one.parts[0] for one in step] if is_list else step)
        answer = [one.parts[0] for one in step] if is_list else None


def one(name):
    answer = yield command(name)
    return answer


def several(name, more):
    first = yield [command(f"{name}1"), command(f"{name}2")]
    second = (yield command(f"{name}3")) if more else None
    return first, second


def at_once(result):
    return result
    yield  # so that it is a generator


def slow(name):
    answer = yield Pause(2)
    assert answer is None
    return (yield command(name))


def gives_up():
    yield GiveUp("too late")


def undoable():
    yield Undoable(command("a"), command("b"))


def test_share_their_round_trips():
    """All first commands go out together, then all second ones. Each gets its own answers."""
    all_steps = [one("a"), several("b", True), at_once("nothing"), several("c", False)]
    yielded, results = carried_out(together(all_steps))
    assert yielded == [["a", "b1", "b2", "c1", "c2"], ["b3"]]
    assert results == ["a", (["b1", "b2"], "b3"), "nothing", (["c1", "c2"], None)]


def test_none():
    """Nothing is sent for no steps."""
    assert carried_out(together([])) == ([], [])


def test_a_pause():
    """The longest pause is waited for once, and the others go on after it."""
    yielded, results = carried_out(together([slow("a"), one("b"), slow("c")]))
    assert yielded == [Pause(2), ["b"], ["a", "c"]]
    assert results == ["a", "b", "c"]


def test_only_pauses():
    """Nothing is sent in a round that is only a pause."""
    yielded, _ = carried_out(together([slow("a")]))
    assert yielded == [Pause(2), ["a"]]


def test_one_gives_up():
    """If one gives up, all do."""
    steps = together([one("a"), gives_up()])
    assert next(steps) == GiveUp("too late")


def test_what_cannot_be_undone_for_one_alone():
    """Steps that would have to be undone are refused."""
    with pytest.raises(TypeError, match="Undoable cannot be carried out side by side"):
        next(together([undoable()]))
