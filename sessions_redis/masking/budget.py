"""How much of the values is gone through, so that no page waits for it."""

from dataclasses import dataclass
from typing import Self

# Of one entry; a page has as much as so many entries. All beyond that is hidden.
MAX_VALUES, MAX_CHARACTERS, MAX_JSON_CHARACTERS = 20_000, 100_000, 500_000
PAGE_BUDGET_IN_ENTRIES = 2


@dataclass(slots=True)
class Budget:
    """
    The values and characters that are still to be gone through, and the characters of JSON.

    ``page``: the budget of the whole page, from which the same is taken.
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
        """The budget of one entry of the page that has this one."""
        return Budget(
            min(MAX_VALUES, self.values),
            min(MAX_CHARACTERS, self.characters),
            min(MAX_JSON_CHARACTERS, self.json),
            page=self,
        )

    @property
    def is_spent(self) -> bool:
        """Whether more was asked for than there was."""
        return self.values < 0 or self.characters < 0

    def spend(self, *, values: int = 0, characters: int = 0, json: int = 0) -> None:
        self.values -= values
        self.characters -= characters
        self.json -= json
        if self.page:
            self.page.spend(values=values, characters=characters, json=json)
