"""
The histogram above the list: how many sessions have how much time left.

One round trip counts the sessions for all possible time scales. Then the best scale is drawn.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf, log

from django.conf import settings
from django.utils.translation import gettext, ngettext_lazy, pgettext

from sessions_redis import registry

MINUTE, HOUR, DAY = 60, 3600, 86400

# Possible spans of the time axis, in seconds. SESSION_COOKIE_AGE is one more.
SPANS = (
    15 * MINUTE, HOUR, 6 * HOUR, DAY, 7 * DAY, 14 * DAY, 30 * DAY, 90 * DAY, 360 * DAY,
)  # fmt: skip

# Round widths of a bar, in seconds. A width is possible if it divides the span.
WIDTHS = (
    1, 2, 5, 10, 15, 30, MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE,
    HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 3 * DAY, 7 * DAY, 15 * DAY,
    30 * DAY,
)  # fmt: skip

# The wanted number of bars, and its limits.
BARS, FEWEST, MOST = 24, 12, 48

# A scale fits if it covers this share of the sessions. The others share one more bar at its end.
SHARE = 0.95

# In CSS pixels: the height of the highest bar, and the least height of a part, to be visible.
HEIGHT, LOWEST = 80, 6

# The share of each bar's width that stays empty, as a gap.
GAP = 0.16

UNITS = (
    (DAY, ngettext_lazy("%(num)d day", "%(num)d days", "num")),
    (HOUR, ngettext_lazy("%(num)d hour", "%(num)d hours", "num")),
    (MINUTE, ngettext_lazy("%(num)d minute", "%(num)d minutes", "num")),
    (1, ngettext_lazy("%(num)d second", "%(num)d seconds", "num")),
)


@dataclass(frozen=True, slots=True)
class Count:
    """The sessions that have more than ``low`` and at most ``high`` seconds left."""

    low: float
    high: float
    signed_in: int
    anonymous: int

    @property
    def total(self) -> int:
        return self.signed_in + self.anonymous

    @property
    def label(self) -> str:
        if self.high == inf:
            return gettext("more than %(time)s") % {"time": duration(self.low)}
        if not self.low:
            return gettext("up to %(time)s") % {"time": duration(self.high)}
        return gettext("%(low)s to %(high)s") % {
            "low": duration(self.low),
            "high": duration(self.high),
        }


@dataclass(frozen=True, slots=True)
class Block:
    """A rectangle in SVG. ``x`` and ``width`` are in percent, ``y`` and ``height`` in pixels."""

    x: str
    width: str
    y: int
    height: int


@dataclass(frozen=True, slots=True)
class Bar:
    """
    The bar for ``count``: anonymous sessions on top of signed-in ones.

    ``place``: the whole column. Pointing at it shows the numbers.
    """

    count: Count
    place: Block
    signed_in: Block
    anonymous: Block


@dataclass(frozen=True, slots=True)
class Tick:
    """A time on the axis. ``anchor``: SVG's text-anchor, which keeps the outer labels inside."""

    x: str
    label: str
    anchor: str


@dataclass(frozen=True, slots=True)
class Histogram:
    """``counts``: by time left, ascending. The last may count the sessions beyond the scale."""

    counts: tuple[Count, ...]

    height = HEIGHT

    @property
    def signed_in(self) -> int:
        return sum(count.signed_in for count in self.counts)

    @property
    def anonymous(self) -> int:
        return sum(count.anonymous for count in self.counts)

    @property
    def total(self) -> int:
        return self.signed_in + self.anonymous

    @property
    def highest(self) -> int:
        return max(count.total for count in self.counts)

    def bars(self) -> Iterator[Bar]:
        place = 100 / len(self.counts)
        for number, count in enumerate(self.counts):
            x, width = _percent((number + GAP / 2) * place), _percent((1 - GAP) * place)
            signed_in, anonymous = self._heights(count)
            yield Bar(
                count,
                Block(_percent(number * place), _percent(place), 0, HEIGHT),
                Block(x, width, HEIGHT - signed_in, signed_in),
                Block(x, width, HEIGHT - signed_in - anonymous, anonymous),
            )

    def ticks(self) -> Iterator[Tick]:
        """Yield the start and the end of the scale, and round times between them."""
        place = 100 / len(self.counts)
        bounds = [count.low for count in self.counts]
        if self.counts[-1].high != inf:
            bounds.append(self.counts[-1].high)
        last = len(bounds) - 1
        parts = next((parts for parts in (4, 3, 5, 2) if _divides(parts, last, bounds[-1])), 1)
        for number in range(0, last + 1, last // parts):
            anchor = "start" if not number else "end" if number == len(self.counts) else "middle"
            label = (
                duration(bounds[number]) if number else pgettext("start of the time axis", "now")
            )
            yield Tick(_percent(number * place), label, anchor)

    def _heights(self, count: Count) -> tuple[int, int]:
        """Heights in proportion to the counts; each at least `LOWEST`, together up to `HEIGHT`."""
        if not count.total:
            return 0, 0
        lowest_signed_in = LOWEST if count.signed_in else 0
        lowest_anonymous = LOWEST if count.anonymous else 0
        lowest = lowest_signed_in + lowest_anonymous
        height = max(lowest, round(count.total / self.highest * HEIGHT))
        signed_in = round(height * count.signed_in / count.total)
        signed_in = min(max(lowest_signed_in, signed_in), height - lowest_anonymous)
        return signed_in, height - signed_in


def histogram() -> Histogram:
    """Count all sessions of the site by time left, in one round trip."""
    spans = {*SPANS, max(BARS, int(settings.SESSION_COOKIE_AGE))}
    scales = [scale_of(span) for span in sorted(spans)]
    bounds = [*sorted({bound for scale in scales for bound in scale}), inf]
    return fitting(scales, bounds, *registry.by_time_left(bounds))


def scale_of(span: int) -> list[float]:
    """Divide 0 to ``span`` seconds into about `BARS` equal steps, of a round width if possible."""
    round_widths = [width for width in WIDTHS if span % width == 0]
    width = min(round_widths, key=lambda width: abs(log(span / width / BARS)))
    if not FEWEST <= span / width <= MOST:
        return [span * step / BARS for step in range(BARS + 1)]
    return [float(bound) for bound in range(0, span + 1, width)]


def fitting(
    scales: Sequence[Sequence[float]],
    bounds: Sequence[float],
    signed_in: Sequence[int],
    anonymous: Sequence[int],
) -> Histogram:
    """
    Choose the shortest of ``scales`` that covers the share `SHARE` of sessions, or the longest.

    ``signed_in``, ``anonymous``: how many sessions are between each of ``bounds`` and the next.
    """

    def counted(low: float, high: float) -> Count:
        part = slice(bisect_left(bounds, low), bisect_left(bounds, high))
        return Count(low, high, sum(signed_in[part]), sum(anonymous[part]))

    total = counted(0, inf).total
    for scale in scales:
        end = scale[-1]
        if counted(0, end).total >= SHARE * total:
            break
    counts = [counted(low, high) for low, high in pairwise(scale)]
    beyond = counted(end, inf)
    return Histogram((*counts, beyond) if beyond.total else tuple(counts))


def duration(seconds: float) -> str:
    """Describe a time in its two largest units: "1 day, 12 hours"."""
    whole = round(seconds)
    first = next((place for place, (unit, _) in enumerate(UNITS) if unit <= whole), len(UNITS) - 1)
    parts: list[str] = []
    for unit, words in UNITS[first : first + 2]:
        number, whole = divmod(whole, unit)
        if number:
            parts.append(words % {"num": number})
    return gettext(", ").join(parts)


def _divides(parts: int, bars: int, span: float) -> bool:
    step = span / parts
    unit = next((unit for unit, _ in UNITS if unit <= step), 1)
    return bars % parts == 0 and step % unit == 0


def _percent(share: float) -> str:
    return f"{share:.3f}%"
