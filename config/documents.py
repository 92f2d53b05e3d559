"""Splits the README into paragraphs that fit a page of any width. It does not render Markdown."""

import re

CODE = re.compile(r"^(```.*?^```)$", re.MULTILINE | re.DOTALL)

# A line break within a paragraph: the next line does not start a list item, table row or heading.
SOFT_BREAK = re.compile(r"\n(?!\s*(?:[-*] |\d+\. |\||#+ ))[ ]*")


def paragraphs(markdown: str) -> list[str]:
    """Return the paragraphs, with their lines joined. Blocks of code stay as they are."""
    found = []
    for part in CODE.split(markdown):
        if part.startswith("```"):
            found.append(part)
        else:
            flowing = (SOFT_BREAK.sub(" ", text) for text in re.split(r"\n{2,}", part.strip("\n")))
            found += filter(None, flowing)
    return found
