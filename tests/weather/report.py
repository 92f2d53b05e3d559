"""The figures of one weather and one site, and which promises they break."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.weather.inspection import Findings
from tests.weather.places import Weather
from tests.weather.visitors import Answer

HEADINGS = (
    *("weather", "topology", "site", "signed in", "200", "400", "503", "500", "other", "meanwhile"),
    *("longest", "lost", "twice", "back", "no TTL", "half", "recovery", "connections", "threads"),
)


@dataclass(frozen=True)
class Row:
    """
    ``answers_meanwhile``: those to requests that were sent and answered during the weather.
    ``recovery``: seconds after the weather until the last failure, or ``None`` if failures did not
    stop. ``connections`` and ``threads``: before and after.
    """

    weather: Weather
    site: str
    before: int
    answers: Sequence[Answer]
    answers_meanwhile: Sequence[Answer]
    findings: Findings
    recovery: float | None
    connections: tuple[int, int]
    threads: tuple[int, int]

    def cells(self) -> list[str]:
        found, statuses = self.findings, self._statuses()
        halves = str(found.halves)
        if found.unlisted:
            halves += f" ({found.unlisted} unlisted)"
        return [
            self.weather.name,
            self.weather.on,
            self.site,
            f"{self.before} → {found.after}",
            *(str(statuses[status]) for status in (200, 400, 503, 500, None)),
            str(len(self.answers_meanwhile)),
            f"{max(one.received - one.sent for one in self.answers):.1f} s",
            *map(str, (found.lost, found.twice, found.back, found.forever)),
            halves,
            "none" if self.recovery is None else f"{self.recovery:.1f} s",
            f"{self.connections[0]} → {self.connections[1]}",
            f"{self.threads[0]} → {self.threads[1]}",
        ]

    def _statuses(self) -> Counter[int | None]:
        known = {200, 400, 503, 500}
        return Counter(one.status if one.status in known else None for one in self.answers)

    def broken_promises(self) -> Iterator[str]:
        weather = self.weather
        return (f"{weather.name}, {weather.on}, {self.site}: {one}." for one in self._broken())

    def _broken(self) -> Iterator[str]:
        found, weather, statuses = self.findings, self.weather, self._statuses()
        if found.after < self.before and not (weather.signs_out or weather.loses):
            yield f"{self.before - found.after} users were signed out"
        if found.lost and not (weather.loses or weather.loses_entries):
            yield f"{found.lost} acknowledged writes are lost"
        if found.twice:
            yield f"{found.twice} increments were applied twice"
        if found.back and not weather.loses:
            yield f"{found.back} ended sessions are back"
        if found.forever:
            yield f"{found.forever} keys have no TTL"
        if found.halves:
            yield f"{found.halves} sessions are half-written"
        if found.unlisted and not weather.unlists:
            yield f"{found.unlisted} sessions are not listed"
        if statuses[500]:
            yield f"{statuses[500]} requests were answered 500"
        if statuses[None]:
            yield f"{statuses[None]} requests had another answer, or none"
        if self.recovery is None:
            yield "the site did not recover"
        yield from self._stopped()

    def _stopped(self) -> Iterator[str]:
        for action in self.weather.goes_on:
            failed = sum(
                one.action == action and one.status != 200 for one in self.answers_meanwhile
            )
            if failed:
                yield f"{failed} requests failed that only {DOES[action]}"


DOES = {"who": "read", "logout": "signed out"}


def table(rows: Sequence[Row]) -> str:
    """All rows in Markdown."""
    return lines(HEADINGS, [row.cells() for row in rows], 3)


def lines(headings: Sequence[str], rows: Sequence[Sequence[str]], texts: int) -> str:
    """A table in Markdown. Its first columns, ``texts`` of them, are not numbers."""
    rule = ["---"] * texts + ["---:"] * (len(headings) - texts)
    return "\n".join(f"| {' | '.join(line)} |" for line in (headings, rule, *rows))
