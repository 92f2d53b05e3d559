"""Limits how much of the values is checked for secrets, so that pages do not take long."""

from dataclasses import dataclass
from typing import Self

# The limits of one entry: values within it, characters of text, and characters of JSON that are
# parsed. A page has the limits of PAGE_BUDGET_IN_ENTRIES entries. Everything beyond is hidden.
MAX_VALUES, MAX_CHARACTERS, MAX_JSON_CHARACTERS = 20_000, 100_000, 500_000
PAGE_BUDGET_IN_ENTRIES = 2


@dataclass(slots=True)
class Budget:
    """
    How many values, characters of text and characters of JSON may still be checked.

    ``page``: the budget of the whole page. Spending from this one also spends from that.
    """

    values: int
    characters: int
    json: int
    page: "Budget | None" = None

    @classmethod
    def of_a_page(cls) -> Self:
        return cls(
            PAGE_BUDGET_IN_ENTRIES * MAX_VALUES,
            PAGE_BUDGET_IN_ENTRIES * MAX_CHARACTERS,
            PAGE_BUDGET_IN_ENTRIES * MAX_JSON_CHARACTERS,
        )

    def of_an_entry(self) -> "Budget":
        """A budget for one entry of the page to which this budget belongs."""
        return Budget(
            min(MAX_VALUES, self.values),
            min(MAX_CHARACTERS, self.characters),
            min(MAX_JSON_CHARACTERS, self.json),
            page=self,
        )

    @property
    def is_spent(self) -> bool:
        """Whether more was spent than the budget had."""
        return self.values < 0 or self.characters < 0

    def spend(self, *, values: int = 0, characters: int = 0, json: int = 0) -> None:
        self.values -= values
        self.characters -= characters
        self.json -= json
        if self.page:
            self.page.spend(values=values, characters=characters, json=json)
