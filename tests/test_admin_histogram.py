"""Tests the histogram of sessions by time left."""

import itertools
from math import inf

import pytest

from sessions_redis import registry
from sessions_redis.admin.histogram import (
    DAY,
    HEIGHT,
    HOUR,
    LOWEST,
    MINUTE,
    SPANS,
    Count,
    Histogram,
    duration,
    fitting,
    histogram,
    scale_of,
)
from tests.proxy import Proxy
from tests.section import own_id, signed_in, text_of, url, use_section

WEEKS = 14 * DAY


@pytest.fixture
def section(settings):
    use_section(settings)


@pytest.mark.parametrize(
    ("span", "bars", "width"),
    [
        (15 * MINUTE, 30, 30),
        (HOUR, 30, 2 * MINUTE),
        (6 * HOUR, 24, 15 * MINUTE),
        (DAY, 24, HOUR),
        (7 * DAY, 28, 6 * HOUR),
        (WEEKS, 28, 12 * HOUR),
        (30 * DAY, 30, DAY),
        (90 * DAY, 30, 3 * DAY),
        (360 * DAY, 24, 15 * DAY),
        (7919, 24, 7919 / 24),
        (10 * 360 * DAY, 24, 150 * DAY),
        (24, 24, 1),
    ],
)
def test_scales(span, bars, width):
    """A span is divided into about 24 bars, of a round width if possible."""
    scale = scale_of(span)
    assert (scale[0], scale[-1], len(scale) - 1) == (0, span, bars)
    assert scale[1] == pytest.approx(width)


def made(**counts):
    """Make the histogram of signed-in sessions with these numbers of seconds left."""
    scales = [scale_of(span) for span in SPANS]
    bounds = [*sorted({bound for scale in scales for bound in scale}), inf]
    signed_in = [0] * (len(bounds) - 1)
    for seconds, count in counts.items():
        left = int(seconds.removeprefix("s"))
        place = next(i for i, high in enumerate(bounds[1:]) if left <= high)
        signed_in[place] += count
    return fitting(scales, bounds, signed_in, [0] * len(signed_in))


def test_the_scale_fits_the_sessions():
    """The shortest scale that has nearly all sessions. The others share one more bar."""
    assert made(s60=10).counts[-1].high == 15 * MINUTE
    assert made(s60=10, s1209600=10).counts[-1].high == WEEKS
    few_beyond = made(s60=99, s1209600=1)
    assert few_beyond.counts[-1] == Count(15 * MINUTE, inf, 1, 0)
    assert few_beyond.counts[-1].label == "more than 15 minutes"
    ages = made(s600000000=3)
    assert ages.counts[-1] == Count(360 * DAY, inf, 3, 0)
    assert made().total == 0


def test_counts():
    """A bar counts sessions with more than its lower and at most its upper bound."""
    picture = made(s30=1, s31=2, s900=4)
    found = {(count.low, count.high): count.total for count in picture.counts if count.total}
    assert found == {(0, 30): 1, (30, 60): 2, (870, 900): 4}
    assert (picture.highest, picture.total) == (4, 7)
    labels = [count.label for count in picture.counts if count.total]
    assert labels == ["up to 30 seconds", "30 seconds to 1 minute",
                      "14 minutes, 30 seconds to 15 minutes"]  # fmt: skip


def test_bars():
    """Bars fill the width, heights are proportional, and a single session is visible."""
    counts = (Count(0, 1, 1000, 0), Count(1, 2, 250, 250), Count(2, 3, 0, 1), Count(3, 4, 0, 0))
    bars = list(Histogram(counts).bars())
    assert [bar.signed_in.height for bar in bars] == [HEIGHT, HEIGHT // 4, 0, 0]
    assert [bar.anonymous.height for bar in bars] == [0, HEIGHT // 4, LOWEST, 0]
    assert bars[1].signed_in.y == HEIGHT - HEIGHT // 4
    assert bars[1].anonymous.y == HEIGHT - HEIGHT // 2
    assert [bar.signed_in.x for bar in bars] == ["2.000%", "27.000%", "52.000%", "77.000%"]
    assert bars[0].signed_in.width == "21.000%"
    assert [bar.place.x for bar in bars] == ["0.000%", "25.000%", "50.000%", "75.000%"]
    assert {(bar.place.y, bar.place.height, bar.place.width) for bar in bars} == {
        (0, HEIGHT, "25.000%")
    }


@pytest.mark.parametrize(
    ("signed_in", "anonymous", "heights"),
    [
        (1, 0, (LOWEST, 0)),
        (0, 1, (0, LOWEST)),
        (1, 1, (LOWEST, LOWEST)),
        (1, 9999, (LOWEST, HEIGHT - LOWEST)),
        (9999, 1, (HEIGHT - LOWEST, LOWEST)),
        (0, 0, (0, 0)),
    ],
)
def test_low_bars(signed_in, anonymous, heights):
    """Each part of a bar is visible, even a single session, and none exceeds the histogram."""
    counts = (Count(0, 1, signed_in, anonymous), Count(1, 2, 10_000, 0))
    bar = next(Histogram(counts).bars())
    assert (bar.signed_in.height, bar.anonymous.height) == heights
    assert bar.anonymous.y == HEIGHT - sum(heights)
    assert bar.signed_in.y == HEIGHT - bar.signed_in.height


@pytest.mark.parametrize(
    ("span", "labels"),
    [
        (15 * MINUTE, ["now", "5 minutes", "10 minutes", "15 minutes"]),
        (HOUR, ["now", "20 minutes", "40 minutes", "1 hour"]),
        (DAY, ["now", "6 hours", "12 hours", "18 hours", "1 day"]),
        (WEEKS, ["now", "7 days", "14 days"]),
        (30 * DAY, ["now", "10 days", "20 days", "30 days"]),
        (360 * DAY, ["now", "90 days", "180 days", "270 days", "360 days"]),
        (7919, ["now", "2 hours, 11 minutes"]),
    ],
)
def test_ticks(span, labels):
    """The axis has round times, and its outer labels stay inside."""
    scale = scale_of(span)
    counts = [Count(low, high, 1, 0) for low, high in itertools.pairwise(scale)]
    ticks = list(Histogram(tuple(counts)).ticks())
    assert [tick.label for tick in ticks] == labels
    assert (ticks[0].x, ticks[0].anchor) == ("0.000%", "start")
    assert (ticks[-1].x, ticks[-1].anchor) == ("100.000%", "end")
    beyond = list(Histogram((*counts, Count(span, inf, 1, 0))).ticks())
    assert [tick.label for tick in beyond] == labels
    assert beyond[-1].anchor == "middle"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (1, "1 second"),
        (59.6, "1 minute"),
        (90, "1 minute, 30 seconds"),
        (3601, "1 hour"),
        (36 * HOUR, "1 day, 12 hours"),
    ],
)
def test_durations(seconds, words):
    """A duration has at most its two largest units."""
    assert duration(seconds) == words


def test_one_round_trip(settings, session_redis, server):
    """One round trip counts all sessions, signed in and anonymous."""
    ids = [signed_in("1", seconds=100), signed_in(seconds=100), signed_in(seconds=10 * DAY)]
    with Proxy(server.port) as proxy:
        settings.SESSION_REDIS = {**session_redis, "LOCATION": proxy.url}
        histogram()
        assert proxy.counted(histogram) == 1
        picture = histogram()
        assert (picture.signed_in, picture.anonymous) == (1, 2)
        registry.end_many(ids)
        assert histogram().total == 0


@pytest.mark.parametrize("age", [0, -1, 7919, 900.5])
def test_any_age_of_cookies(settings, age):
    """Any SESSION_COOKIE_AGE gives a histogram."""
    settings.SESSION_COOKIE_AGE = age
    signed_in(seconds=60)
    assert histogram().total == 1


@pytest.mark.django_db
def test_on_the_page(section, admin_client):
    """The page has a description for screen readers, patterns as well as colors, and a table."""
    signed_in(seconds=60)
    page = admin_client.get(url())
    content = page.content.decode()
    assert (
        'role="img" aria-labelledby="sessions-histogram-title sessions-histogram-desc"' in content
    )
    assert "A histogram of 2 sessions, 1 of them signed in and 1 anonymous." in content
    assert '<strong id="sessions-histogram-title">All sessions by time left</strong>' in content
    assert "<title>up to 12 hours: 0 signed in, 1 anonymous</title>" in content
    assert content.count('<rect class="place" fill="transparent"') == 28
    assert 'fill="url(#sessions-histogram-stripes)"' in content
    text = text_of(page)
    assert (
        "Time left Signed in Anonymous up to 12 hours 0 1 13 days, 12 hours to 14 days 1 0" in text
    )
    assert "style=" not in content.split('class="sessions-histogram"')[1].split("</figure>")[0]


@pytest.mark.django_db
def test_in_another_language(section, admin_client, settings):
    """Thousands separators and decimal commas of a language do not break the SVG."""
    settings.LANGUAGE_CODE = "de"
    settings.USE_THOUSAND_SEPARATOR = True
    content = admin_client.get(url()).content.decode()
    assert 'x="0.286%"' in content
    assert "13 Tage, 12 Stunden" in content.replace("\xa0", " ")


@pytest.mark.django_db
def test_without_sessions(section, admin_client, admin_user, settings):
    """The page says that there are no sessions."""
    registry.end(own_id(admin_client))
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    admin_client.force_login(admin_user)
    text = text_of(admin_client.get(url()))
    assert "There are no sessions." in text
    assert "0 sessions" in text
