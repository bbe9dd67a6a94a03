"""Which files of a revision a checkout takes: the selectors of `--only`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from dsa.cas.names import printable
from dsa.errors import UsageError

_MAGIC = re.compile(r"[*?\[]")
_RE_PREFIX = "re:"


@dataclass(frozen=True)
class Selection:
    """Paths that at least one selector takes; without selectors, all of them.

    A selector is `re:REGEX`, searched in the whole path, or else an exact path, with all that
    lies below where it is a folder. If it holds `*`, `?` or `[...]` it is a glob of the whole
    path besides, where these stop at `/` and `**` does not: `*.csv` takes what lies at the top,
    `**/*.csv` what lies anywhere, `data/**` all below `data`. A glob that ends in `/` takes the
    folders that it matches, with all below. A `./` before and a `/` behind a path change nothing.

    Equal when the selectors are. A selector that cannot be read is a `UsageError`.
    """

    selectors: tuple[str, ...] = ()
    _literals: frozenset[str] = field(init=False, repr=False, compare=False)
    _patterns: tuple[Callable[[str], object], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        literals = set()
        globs = []
        patterns: list[Callable[[str], object]] = []
        for selector in self.selectors:
            if selector.startswith(_RE_PREFIX):
                patterns.append(_regex(selector).search)
                continue
            literals.add(_plain(selector))
            if _MAGIC.search(selector):
                globs.append(_glob(selector))
        if globs:  # one regular expression for all: a path costs one match
            patterns.append(re.compile("|".join(globs), re.DOTALL).fullmatch)
        object.__setattr__(self, "_literals", frozenset(literals))
        object.__setattr__(self, "_patterns", tuple(patterns))

    @property
    def everything(self) -> bool:
        """No selector at all, so nothing is left out."""
        return not self.selectors

    def matches(self, path: str) -> bool:
        """Say whether a file, a link or an empty folder is taken."""
        return self.mask([path])[0]

    def mask(self, paths: Iterable[str]) -> list[bool]:
        """Say it of each path in turn; paths of one folder are cheapest together."""
        if self.everything:
            return [True for _ in paths]
        literals, patterns = self._literals, self._patterns
        folders: dict[str, bool] = {}
        taken = []
        for path in paths:
            folder = path.rpartition("/")[0]
            below = folders.get(folder)
            if below is None:
                below = folders[folder] = not literals.isdisjoint(_with_folders(folder))
            taken.append(
                below or path in literals or any(pattern(path) is not None for pattern in patterns)
            )
        return taken

    def unmatched(self, paths: Sequence[str]) -> list[str]:
        """Return the selectors that take none of these paths: files, links and empty folders."""
        literals = {_plain(s) for s in self.selectors if not s.startswith(_RE_PREFIX)}
        missing = literals - _found(literals, paths)
        return [
            selector
            for selector in dict.fromkeys(self.selectors)
            if (selector.startswith(_RE_PREFIX) or _plain(selector) in missing)
            and not _matches_any(selector, paths)
        ]


def _plain(selector: str) -> str:
    """Return the path that a selector spells; the root is the empty one."""
    if not selector:
        raise UsageError("an empty selector takes nothing", hint="leave --only out to take all")
    path = selector
    while path.startswith("./"):
        path = path[2:].lstrip("/")
    path = path.rstrip("/")
    if path == "." or (not path and not selector.startswith("/")):
        return ""
    return path or selector


def _with_folders(path: str) -> Iterable[str]:
    """Yield the path, the folders above it, and the root."""
    while path:
        yield path
        path = path.rpartition("/")[0]
    yield ""


def _found(literals: set[str], paths: Iterable[str]) -> set[str]:
    """Return those that are one of the paths or a folder above one, in one pass over them."""
    found: set[str] = set()
    seen: set[str] = set()
    for path in paths:
        if len(found) == len(literals):
            break
        if path in literals:
            found.add(path)
        folder = path.rpartition("/")[0]
        if folder not in seen:
            seen.add(folder)
            found.update(literals.intersection(_with_folders(folder)))
    return found


def _matches_any(selector: str, paths: Iterable[str]) -> bool:
    if selector.startswith(_RE_PREFIX):
        matches: Callable[[str], object] = _regex(selector).search
    elif _MAGIC.search(selector):
        matches = re.compile(_glob(selector), re.DOTALL).fullmatch
    else:
        return False
    return any(matches(path) is not None for path in paths)


def _regex(selector: str) -> re.Pattern[str]:
    text = selector.removeprefix(_RE_PREFIX)
    if not text:
        raise UsageError("an empty selector takes nothing", hint="leave --only out to take all")
    try:
        return re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise UsageError(f"not a regular expression: '{printable(text)}': {error}") from None


def _glob(selector: str) -> str:
    """Translate a glob into a regular expression of the whole path (with DOTALL)."""
    text = _plain(selector)
    out = []
    i = 0
    while i < len(text):
        if text.startswith("**", i):
            begins = i == 0 or text[i - 1] == "/"
            while i < len(text) and text[i] == "*":
                i += 1
            if begins and text.startswith("/", i):
                out.append("(?:.*/)?")  # also no folder at all
                i += 1
            else:
                out.append(".*")
        elif text[i] == "[" and (end := _class_end(text, i)):
            out.append(_class(text[i + 1 : end], selector))
            i = end + 1
        else:
            out.append({"*": "[^/]*", "?": "[^/]"}.get(text[i]) or re.escape(text[i]))
            i += 1
    if selector.endswith("/"):
        out.append("(?:/.*)?")
    return "".join(out)


def _class_end(text: str, start: int) -> int:
    """Return where the `]` of a `[...]` stands, 0 if there is none: then `[` means itself."""
    first = start + 2 if text.startswith("!", start + 1) else start + 1
    return max(text.find("]", first + 1), 0)  # a `]` that comes first is a member


def _class(members: str, selector: str) -> str:
    """Translate what stands between the brackets: members and ranges, after `!` all others."""
    listed = members.removeprefix("!")
    out = []
    i = 0
    while i < len(listed):
        low = high = listed[i]
        i += 1
        if listed.startswith("-", i) and i + 1 < len(listed):  # a `-` that comes last is a member
            high = listed[i + 1]
            i += 2
        if low > high:
            raise UsageError(f"not a glob: '{printable(selector)}': a range from {low} to {high}")
        out.append(f"{re.escape(low)}-{re.escape(high)}")
    return f"(?!/)[{'^' if members.startswith('!') else ''}{''.join(out)}]"
