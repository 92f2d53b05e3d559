"""What the command ``migratesessions`` says, in words."""

from sessions_redis.logs import printable
from sessions_redis.moving_all.counts import Counts, Some

# By kind: what happened, what would happen, and what became of it there.
KINDS = {
    "adopted": ("moved", "can move", ""),
    "there": ("in Redis already", "in Redis already", ""),
    "refused": ("ended or signed out before", "ended or signed out before", ""),
    "expired": ("expired", "expired", "They stay where they are."),
    "not decodable": ("not decodable", "not decodable", "They stay where they are."),
    "partial": (
        "moved without some entries",
        "can move without some entries",
        "SESSION_SERIALIZER cannot write these entries.",
    ),
    "stayed": (
        "not moved",
        "cannot move",
        "SESSION_SERIALIZER cannot write all of their entries, and "
        "SESSION_REDIS['FORMER_ENGINE_PARTIAL'] is False.",
    ),
}

# Those kinds whose sessions the site owner may want to look at.
NAMED = ("not decodable", "partial", "stayed")

CHECKED = {
    "same": "as they were",
    "changed": "changed by visitors since",
    "gone": "ended or expired since",
    "different": "WRONG: other entries, or another user",
    "lifetime": "WRONG: a shorter lifetime",
    "unlisted": "WRONG: not listed, or not under their user (manage.py rebuildindex lists them)",
}


def as_counts(counts: Counts, *, only_look: bool) -> str:
    lines = []
    for kind, (was, would_be, comment) in KINDS.items():
        some = counts.of(kind)
        if some.number or kind == "adopted":
            lines.append(_line(some, would_be if only_look else was, comment))
            if kind in NAMED:
                lines += _ids(some)
    if counts.left_out:
        lines.append("Entries that SESSION_SERIALIZER cannot write, and in how many sessions:")
        lines += [f"    {printable(name)}: {n:,}" for name, n in counts.left_out.most_common()]
    return "\n".join(lines)


def as_check(counts: Counts) -> str:
    total = sum(counts.of(kind).number for kind in CHECKED)
    if not total:
        return (
            "No sample to compare: no session has moved in the last week, or Redis lost the sample."
        )
    lines = [f"A sample of {total:,} that have moved:"]
    for kind, words in CHECKED.items():
        some = counts.of(kind)
        if some.number or kind == "same":
            lines.append(_line(some, words))
            if words.startswith("WRONG"):
                lines += _ids(some)
    return "\n".join(lines)


def _line(some: Some, words: str, comment: str = "") -> str:
    return f"{some.number:>12,} {words}{f'. {comment}' if comment else ''}"


def _ids(some: Some) -> list[str]:
    lines = [f"             {id}" for id in some.ids]
    more = some.number - len(some.ids)
    return [*lines, f"             and {more:,} more"] if more else lines
