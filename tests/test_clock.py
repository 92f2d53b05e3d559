"""Tests the estimate of the server's time."""

import time

import pytest

from sessions_redis.clock import JUMP, TRUSTED, ServerClock


class Machine:
    """The clocks of a machine that runs this process."""

    def __init__(self):
        self.wall, self.ticks = 1_700_000_000.0, 5000.0

    def wait(self, seconds):
        self.wall += seconds
        self.ticks += seconds


@pytest.fixture
def machine(monkeypatch):
    machine = Machine()
    monkeypatch.setattr(time, "time", lambda: machine.wall)
    monkeypatch.setattr(time, "monotonic", lambda: machine.ticks)
    return machine


@pytest.fixture
def clock(machine):
    """A clock that was set by a reply to a command, which took a second."""
    clock = ServerClock()
    machine.wait(1)
    clock.set_after(1000.0, machine.ticks - 1)
    return clock


def test_now(machine, clock):
    """The clock goes on from the time that the reply had."""
    machine.wait(10)
    assert clock.now() == 1010


@pytest.mark.parametrize(
    ("moment", "expected"), [(1000, True), (1010, True), (952, True), (951, False), (1012, False)]
)
def test_within(machine, clock, moment, expected):
    """A moment is within a minute, or long ago. One in the future is not known."""
    machine.wait(10)  # for the server, 10 or 11 seconds
    assert clock.is_within(60, moment) is expected


def test_a_clock_that_was_never_set(machine):
    """Nothing is within any time."""
    clock = ServerClock()
    assert not clock.is_within(60, clock.now())
    clock.set(1000.0)
    assert not clock.is_within(60, 1000.0)


@pytest.mark.parametrize("seconds", [1, 60, 300])
def test_a_clock_that_was_set_long_ago(machine, clock, seconds):
    """After twice the time that is asked for, and a minute, nothing is known."""
    machine.wait(max(2 * seconds, TRUSTED) - 1.5)
    assert clock.is_within(seconds, clock.now() + 1)
    machine.wait(1)
    assert not clock.is_within(seconds, clock.now() + 1)


@pytest.mark.parametrize("change", [-2 * JUMP, 2 * JUMP])
def test_a_machine_whose_clock_was_changed(machine, clock, change):
    """If the machine slept, or its clock was changed, nothing is known until the next reply."""
    machine.wall += change
    assert not clock.is_within(60, 1000.0)
    clock.set_after(1000.0, machine.ticks)
    assert clock.is_within(60, 1000.0)
