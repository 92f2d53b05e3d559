"""The README, the docs and the other pages for people, and how their Markdown is read."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"),
    *(f"docs/{page.name}" for page in DOCS),
]

CODE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def section(text: str, title: str) -> str:
    """The text below one heading, up to the next of that level or above."""
    level = title.split(" ", maxsplit=1)[0]
    _, _, rest = text.partition(f"\n{title}\n")
    assert rest, f"no section {title!r}"
    return re.split(rf"\n#{{1,{len(level)}}} ", rest)[0]


def cells(text: str) -> list[list[str]]:
    """The cells of each row of the tables in ``text``, their headings left out."""
    lines = [
        re.split(r"(?<!\\)\|", line.strip().strip("|"))
        for line in CODE.sub("", text).splitlines()
        if line.startswith("|")
    ]
    rows = [[cell.strip() for cell in line] for line in lines]
    rules = {position for position, row in enumerate(rows) if set(row[0]) == {"-"}}
    left_out = rules | {position - 1 for position in rules}
    return [row for position, row in enumerate(rows) if position not in left_out]


def rows(text: str) -> list[tuple[str, str]]:
    """The first two cells of each row of the tables in ``text``."""
    return [(row[0], row[1]) for row in cells(text)]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands(text: str) -> list[str]:
    """What the blocks of ``text`` that show a terminal say to type."""
    return [
        line.removeprefix("$ ")
        for block in blocks(text, "console")
        for line in block.splitlines()
        if line.startswith("$ ")
    ]


def links(text: str) -> list[str]:
    """Where the links and pictures of ``text`` lead, web addresses left out."""
    return re.findall(r"\]\((?!https?://)([^)\s]+)\)", CODE.sub("", text))


def anchors(text: str) -> set[str]:
    """The parts of a page that a link can name: its headings, as GitHub writes them."""
    titles = re.findall(r"^#+ (.*)$", CODE.sub("", text), re.MULTILINE)
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title).lower() for title in titles]
    return {re.sub(r"[^\w\- ]", "", title).strip().replace(" ", "-") for title in plain}
