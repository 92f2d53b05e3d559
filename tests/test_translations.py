"""Tests that the catalogs are complete, agree with the code, and fit Django's own."""

import ast
import gettext
import re
from pathlib import Path

import django
import pytest
from django.apps import apps

from tests.catalogs import (
    LANGUAGES,
    LOCALE,
    PACKAGE,
    UnmarkedTexts,
    compiled,
    forms,
    marked,
    po_of,
    read,
    templates,
    texts,
    unmarked_in_template,
)
from tests.documents import section, text_of

PLACEHOLDER = re.compile(r"%\(\w+\)[sd]|</?\w+>")

UPDATE = 'Run "make messages" and translate what is missing: see CONTRIBUTING.md.'

every_language = pytest.mark.parametrize("language", LANGUAGES)


def test_each_language_has_a_catalog():
    """The folders are those of the languages that the tests and the docs name."""
    assert {path.name for path in LOCALE.iterdir()} == set(LANGUAGES)
    named = section(text_of("docs/admin.md"), "## Languages")
    for code, name in LANGUAGES.items():
        assert f"{name} (`{code}`)" in " ".join(named.split())


@every_language
def test_nothing_is_missing(language):
    """A catalog has all texts that the package marks, and no others. All are translated."""
    catalog = read(language)
    expected, held = texts(marked()), texts(catalog)
    assert held.keys() - expected.keys() == set(), UPDATE
    assert expected.keys() - held.keys() == set(), UPDATE
    assert [text for text in held if forms(held[text].id) != forms(expected[text].id)] == []
    assert [text for text, message in held.items() if not all(forms(message.string))] == []
    assert [text for text, message in held.items() if message.fuzzy] == []
    assert not catalog.obsolete
    assert "#, fuzzy" not in po_of(language).read_text(encoding="utf-8")


@every_language
def test_each_plural_has_all_its_forms(language):
    """A text with a number has as many forms as the language, and gettext finds each of them."""
    catalog = read(language)
    with po_of(language).with_suffix(".mo").open("rb") as file:
        translations = gettext.GNUTranslations(file)
    plurals = [message for message in catalog if message.pluralizable]
    assert plurals
    for message in plurals:
        one, many = message.id
        context = (message.context,) if message.context else ()
        find = translations.npgettext if context else translations.ngettext
        found = {find(*context, one, many, count) for count in (0, 1, 2, 5, 100, 1_000_000)}
        assert len(message.string) == catalog.num_plurals
        assert found == set(message.string), message.id


@every_language
def test_placeholders_and_markup_are_kept(language):
    """A translation has the same placeholders and tags. One may be written out as a word."""
    for message in texts(read(language)).values():
        expected, translated = forms(message.id), forms(message.string)
        for number, translation in enumerate(translated):
            is_singular = len(translated) > 1 and number == 0
            held = set(PLACEHOLDER.findall(translation))
            assert held == set(PLACEHOLDER.findall(expected[0 if is_singular else -1])), translation
        ends = {text[-1:] in ".?:。？：" for text in (*expected, *translated)}
        assert len(ends) == 1, f"one ends as a sentence, and one does not: {translated}"


@every_language
def test_what_is_compiled_is_what_is_written(language):
    """The .mo file, which Django reads, has the same content as the .po file."""
    written, read_by_django = texts(read(language)), texts(compiled(language))
    assert {text: forms(message.string) for text, message in written.items()} == {
        text: forms(message.string) for text, message in read_by_django.items()
    }, UPDATE


@every_language
def test_words_that_django_translates_too_are_the_same(language):
    """
    A text without a context that Django has as well has Django's translation.

    Catalogs of apps apply to the whole site: another translation would also change Django's pages.
    """
    folders = [Path(django.__file__).parent / "conf", *(Path(app.path) for app in django_apps())]
    for folder in folders:
        theirs = gettext.translation("django", folder / "locale", [language], fallback=True)
        for (context, text), message in texts(read(language)).items():
            if context is None:
                assert theirs.gettext(text) in {text, forms(message.string)[0]}


def django_apps():
    return [app for app in apps.get_app_configs() if app.name.startswith("django.contrib.")]


@every_language
def test_buttons_have_the_same_name_where_they_are_mentioned(language):
    """A text that quotes a button quotes its translation."""
    held = texts(read(language))
    button = held[None, "Sign out everywhere else"].string
    ((_, text),) = [key for key in held if "“" in key[1]]
    assert all(button in one for one in held[None, text].string)


def test_no_template_has_words_that_are_not_marked():
    """All words in templates are translated."""
    unmarked = {
        str(path): unmarked_in_template(path.read_text(encoding="utf-8")) for path in templates()
    }
    assert {name: words for name, words in unmarked.items() if words} == {}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('{% load i18n %}<p class="a">Hello</p>', ["Hello"]),
        ('<input value="Go" name="x">', ["Go"]),
        ('<input type="hidden" name="x" value="yes">', []),
        ('<a title="{% translate "x" %} y" href="{% url "z" %}">{{ a }}&rsaquo;</a>', ["y"]),
        ("{% blocktranslate %}one{% plural %}two{% endblocktranslate %} three", ["three"]),
        ("{% block bodyclass %}app-{{ app }}{% endblock %}", []),
        ("{# one #}{% comment %}two{% endcomment %}<style>.a {}</style>", []),
    ],
)
def test_how_words_in_templates_are_found(source, expected):
    """Texts and attributes that people read count; markup and translated texts do not."""
    assert unmarked_in_template(source) == expected


def test_no_module_has_texts_that_are_not_marked():
    """All texts of several words are marked in the modules whose texts people see."""
    visitor = UnmarkedTexts()
    shown = [*PACKAGE.glob("admin/*.py"), *PACKAGE.glob("web/*.py")]
    for path in [*shown, PACKAGE / "models.py", PACKAGE / "apps.py", PACKAGE / "masking/masked.py"]:
        visitor.visit(ast.parse(path.read_text(encoding="utf-8")))
    # These are stored in the admin's log, and never shown.
    assert visitor.found == ["all of user", "all others"]


def test_how_texts_in_modules_are_found():
    """Texts that code makes or returns count; docstrings, types, exceptions and logs do not."""
    source = '''
    """A docstring."""
    name: "str | None" = None
    log.warning("A line of a log.")
    words = [_("One marked text."), f("<b>One other</b> text", "word"), f"{name} is new"]
    def say() -> "str | None":
        raise ValueError("An exception.")
    '''
    visitor = UnmarkedTexts()
    visitor.visit(ast.parse("\n".join(line[4:] for line in source.splitlines())))
    assert visitor.found == ["One other text", " is new"]
