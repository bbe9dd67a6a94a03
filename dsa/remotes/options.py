"""What can be said about a remote beside its URL: names, meanings, and texts turned into values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dsa.errors import UsageError

#: How many requests are under way at once, where nothing else was said.
JOBS = 16

#: What every remote understands.
COMMON = {
    "jobs": "how many requests are made at once",
    "single_writer": "true: only one person or program ever pushes here at a time",
}

_TRUE = ("1", "on", "true", "yes")
_FALSE = ("0", "false", "no", "off")


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one remote, by name; values are texts as a person gave them."""

    values: Mapping[str, str]

    def check(self, known: Iterable[str], url: str) -> None:
        """Refuse options that this kind of remote does not have, all of them at once.

        And values of the common ones that they cannot have. Raises: `UsageError`.
        """
        names = sorted({*known, *COMMON})
        wrong = sorted(set(self.values) - set(names))
        if wrong:
            raise UsageError(
                f"{url} does not take the option{'s' if len(wrong) > 1 else ''} {', '.join(wrong)}",
                hint=f"it takes {', '.join(names)}",
            )
        _ = self.jobs, self.single_writer

    def text(self, name: str) -> str | None:
        """Return an option's text; None where it is not given, or empty."""
        return self.values.get(name) or None

    def flag(self, name: str, default: bool = False) -> bool:
        """Return whether an option is switched on."""
        text = self.values.get(name, "").strip().lower()
        if text and text not in _TRUE + _FALSE:
            raise UsageError(f"the option {name} is {text!r}", hint="it is true or false")
        return text in _TRUE if text else default

    def number(self, name: str, default: int) -> int:
        """Return an option that is a whole number of at least 1."""
        text = self.values.get(name)
        if text is None:
            return default
        if not text.isdecimal() or int(text) < 1:
            raise UsageError(f"the option {name} is {text!r}", hint="it is a number from 1 on")
        return int(text)

    @property
    def of_place(self) -> Mapping[str, str]:
        """The options that say which place it is, and as whom one is there."""
        return {name: text for name, text in self.values.items() if text and name not in COMMON}

    @property
    def jobs(self) -> int:
        """How many requests are made at once."""
        return self.number("jobs", JOBS)

    @property
    def single_writer(self) -> bool:
        """Whether a person declared that nobody else writes at the same time."""
        return self.flag("single_writer")
