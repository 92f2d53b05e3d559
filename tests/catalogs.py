"""The translations: what the package marks for translators, and the catalogs that hold it."""

import ast
import io
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from babel.messages import Catalog, Message
from babel.messages.extract import extract
from babel.messages.mofile import read_mo
from babel.messages.pofile import read_po
from django.template.base import Lexer, TokenType
from django.utils.translation.template import templatize

from tests.documents import ROOT

PACKAGE = ROOT / "sessions_redis"
LOCALE = PACKAGE / "locale"
LANGUAGES = {
    "de": "German",
    "es": "Spanish",
    "fr": "French",
    "ja": "Japanese",
    "pt_BR": "Brazilian Portuguese",
}

# Django's functions, with the positions of their arguments: "c" is that of the context.
KEYWORDS = {
    "_": None,
    "gettext": None,
    "gettext_lazy": None,
    "gettext_noop": None,
    "ngettext": (1, 2),
    "ngettext_lazy": (1, 2),
    "pgettext": ((1, "c"), 2),
    "pgettext_lazy": ((1, "c"), 2),
    "npgettext": ((1, "c"), 2, 3),
    "npgettext_lazy": ((1, "c"), 2, 3),
}

# Attributes of HTML that people read or hear.
READ = re.compile(r'\b(?:alt|aria-label|placeholder|title|value)="([^"]*)"')


def read(language: str) -> Catalog:
    with po_of(language).open("rb") as file:
        return read_po(file)


def compiled(language: str) -> Catalog:
    with po_of(language).with_suffix(".mo").open("rb") as file:
        return read_mo(file)


def po_of(language: str) -> Path:
    return LOCALE / language / "LC_MESSAGES" / "django.po"


def texts(catalog: Catalog) -> dict[tuple[str | None, str], Message]:
    """The messages of a catalog, by their context and their text (the singular, if it has two)."""
    return {(one.context, forms(one.id)[0]): one for one in catalog if one.id}


def forms(text: "str | tuple[str, ...] | list[str]") -> tuple[str, ...]:
    return (text,) if isinstance(text, str) else tuple(text)


@cache
def marked() -> Catalog:
    """All texts that the package marks for translators."""
    catalog = Catalog()
    for source in sources():
        for _, id, _, context in extract("python", source, KEYWORDS):
            catalog.add(id, context=context)
    return catalog


def sources() -> Iterator[io.BytesIO]:
    """The modules of the package, and its templates as Django turns them into calls."""
    for path in sorted(PACKAGE.rglob("*.py")):
        yield io.BytesIO(path.read_bytes())
    for path in templates():
        yield io.BytesIO(templatize(path.read_text(encoding="utf-8")).encode())


def templates() -> list[Path]:
    return sorted(PACKAGE.rglob("*.html"))


def unmarked_in_template(source: str) -> list[str]:
    """The words of a template that are not within a tag that translates them."""
    # A tag of the template becomes NUL, so that those within a tag of HTML do not end it.
    parts, within = [], ""
    for token in Lexer(source).tokenize():
        tag = token.contents.split(maxsplit=1)[0] if token.token_type is TokenType.BLOCK else ""
        within = tag if tag in {"blocktranslate", "comment"} else within
        parts.append(token.contents if token.token_type is TokenType.TEXT and not within else "\0")
        within = "" if tag == f"end{within}" else within
    html = re.sub(r"<style\b.*?</style>", "", "".join(parts), flags=re.DOTALL)
    html = re.sub(r"\w+-\0", "", html)  # a name for CSS, such as app-{{ app_label }}
    shown = [*READ.findall(re.sub(r'type="hidden"[^>]*', "", html)), re.sub(r"<[^>]*>", "\0", html)]
    return re.findall(r"[^\W\d_]\w*", re.sub(r"&\w+;", "", "\0".join(shown)))


class UnmarkedTexts(ast.NodeVisitor):
    """
    Finds texts of several words in a module that are not marked.

    Texts of exceptions and for logs are left out, which are in English, and so are docstrings.
    """

    def __init__(self) -> None:
        self.found: list[str] = []

    def visit_Raise(self, node: ast.Raise) -> None:
        """Skip the text of an exception."""

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):
            self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for one in node.body:
            self.visit(one)

    def visit_Call(self, node: ast.Call) -> None:
        called = ast.unparse(node.func)
        if called not in KEYWORDS and not called.startswith("log."):
            self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        text = re.sub(r"<[^>]*>", "", node.value) if isinstance(node.value, str) else ""
        if re.search(r"[^\W\d_]\w* +[^\W\d_]", text):
            self.found.append(text)
