"""The README for a page of any width: its Markdown stays as it is written, its lines flow."""

import re

CODE = re.compile(r"^(```.*?^```)$", re.MULTILINE | re.DOTALL)

# A line break that Markdown does not keep: the next line is not an item, row, or heading.
SOFT_BREAK = re.compile(r"\n(?!\s*(?:[-*] |\d+\. |\||#+ ))[ ]*")


def paragraphs(markdown: str) -> list[str]:
    """Its paragraphs, each hard-wrapped line joined to the next; blocks of code are unchanged."""
    found = []
    for part in CODE.split(markdown):
        if part.startswith("```"):
            found.append(part)
        else:
            flowing = (SOFT_BREAK.sub(" ", text) for text in re.split(r"\n{2,}", part.strip("\n")))
            found += filter(None, flowing)
    return found
