"""Many indexes as one list: what is merged is what one index would hold."""

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessions_redis.registry import positions
from sessions_redis.storage.parts import Ranks, Span
from sessions_redis.storage.shards import Window, between, narrowed

# Few different scores, so that many are equal.
SCORES = st.integers(0, 12) | st.floats(0, 12, allow_nan=False)
PARTS = st.lists(st.lists(SCORES, max_size=30).map(sorted), min_size=1, max_size=6)


def whole(parts):
    """The members of all parts in order: score, part, rank."""
    return sorted((score, n, r) for n, part in enumerate(parts) for r, score in enumerate(part))


def span(part, ranks):
    """What the server answers, see part.lua."""
    first, last, most = ranks
    first = max(len(part) + first, 0) if first < 0 else min(first, len(part))
    last = min(len(part) + last if last < 0 else last, len(part) - 1)
    step = max(-(-(last - first + 1) // most), 1)
    return Span(first, step, tuple((b"%d" % r, part[r]) for r in range(first, last + 1, step)))


@given(PARTS, st.data())
def test_what_is_known_of_each_part(parts, data):
    """The page is right if it is called sure. It is sure if the members of each part reach far."""
    totals = [len(part) for part in parts]
    total = sum(totals)
    start = data.draw(st.integers(0, total))
    stop = data.draw(st.integers(start, total))
    firsts = [data.draw(st.integers(0, number)) for number in totals]
    sizes = [data.draw(st.integers(0, 30)) for _ in totals]
    spans = [
        span(part, Ranks(first, first + size - 1))
        for part, first, size in zip(parts, firsts, sizes, strict=True)
    ]
    found, is_sure = between(spans, totals, start, stop)
    expected = whole(parts)[start:stop]
    if is_sure:
        assert [member[:3] for member in found] == expected
    needed = [[r for _, n, r in expected if n == number] for number in range(len(parts))]
    has_more = all(
        known.first == 0 and known.end >= min(stop, total)
        for known, total in zip(spans, totals, strict=True)
    )
    assert is_sure or not has_more or not any(needed)


@given(PARTS, st.data())
def test_narrowing(parts, data):
    """A window never loses the place, and ends up with nothing but the place."""
    position = data.draw(st.integers(0, sum(map(len, parts))))
    most = data.draw(st.integers(2, 7))
    before = whole(parts)[:position]
    places = [sum(n == number for _, n, _ in before) for number in range(len(parts))]
    windows = [Window(0, len(part)) for part in parts]
    for _ in range(12):
        spans = [
            span(part, Ranks(a, b - 1, most)) if b > a else Span(a, 1, ())
            for part, (a, b) in zip(parts, windows, strict=True)
        ]
        windows = narrowed(windows, spans, position)
        assert all(a <= at <= b for at, (a, b) in zip(places, windows, strict=True))
    assert [a for a, _ in windows] == [b for _, b in windows] == places


@given(st.lists(st.lists(SCORES, max_size=6), min_size=1, max_size=4), st.data())
def test_what_changed_meanwhile(parts, data):
    """Whatever is in the answers, windows stay in order."""
    windows = []
    for _ in parts:
        a = data.draw(st.integers(0, 40))
        windows.append(Window(a, data.draw(st.integers(a, 60))))
    spans = [
        Span(
            data.draw(st.integers(0, 60)),
            data.draw(st.integers(1, 9)),
            tuple((b"", s) for s in part),
        )
        for part in parts
    ]
    found = narrowed(windows, spans, data.draw(st.integers(0, 200)))
    assert all(0 <= a <= b for a, b in found)


def test_millions():
    """Windows narrow from ten million members in 16 parts to a few thousand in two steps."""
    size, shards, samples = 625_000, 16, 128
    position = size * shards // 2
    parts = [range(n, size * shards, shards) for n in range(shards)]
    windows = [Window(0, size)] * shards
    widths = []
    for _ in range(2):
        spans = [
            span(part, Ranks(a, b - 1, samples))
            for part, (a, b) in zip(parts, windows, strict=True)
        ]
        windows = narrowed(windows, spans, position)
        widths.append(sum(b - a for a, b in windows))
    assert widths[0] < 500_000
    assert widths[1] < 16_000
    assert sum(chain(a for a, _ in windows)) <= position <= sum(b for _, b in windows)


@pytest.mark.parametrize("shards", [16, 256])
@pytest.mark.parametrize(("total", "looks"), [(1_000_000, 1), (160_000_000, 2)])
def test_how_often_samples_narrow_the_place_of_a_page(shards, total, looks):
    """As often as docs/cluster.md says, with as many samples as the registry asks for."""
    size = total // shards
    windows = [Window(0, size)] * shards
    for _ in range(looks):
        spans = []
        for number, (least, most) in enumerate(windows):
            step = max(-((least - most) // positions.SAMPLES), 1)
            ranks = range(least, most, step)
            spans.append(Span(least, step, tuple((b"", rank * shards + number) for rank in ranks)))
        windows = narrowed(windows, spans, total // 3)
    assert sum(most - least for least, most in windows) <= positions.FETCHED
    for number, (least, most) in enumerate(windows):
        assert least <= -((number - total // 3) // shards) <= most
