"""Names: which ones a person may give, and which ones of a store are taken for what they say.

Names that a person types follow a small grammar that every file system and every URL can carry.
Names inside a dataset are anyone's, and hostile until checked: they become paths at a checkout.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from dsa.errors import UsageError

MAX_DATASET = 200
MAX_REVISION = 100
MAX_ENTRY_BYTES = 255

#: Shortest prefix of a manifest's id that may stand for it.
MIN_ID_PREFIX = 7

_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*", re.ASCII)
_ID_PREFIX = re.compile(rf"[0-9a-f]{{{MIN_ID_PREFIX},40}}", re.ASCII)
_WHOLE_ID = re.compile(r"[0-9A-Fa-f]{40}", re.ASCII)
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com[1-9]|lpt[1-9])(?:\..*)?", re.ASCII | re.IGNORECASE)

# --- what a person types -------------------------------------------------------------------------


def check_dataset(text: str) -> str:
    """Return `text` if it may name a dataset; `UsageError` says which rule it breaks."""
    broken = _dataset_fault(text)
    if broken:
        raise UsageError(f"{_quoted(text)} is no dataset name: it {broken}")
    return text


def check_revision(text: str) -> str:
    """Return `text` if it may name a revision; `UsageError` says which rule it breaks."""
    broken = _revision_fault(text)
    if broken:
        raise UsageError(f"{_quoted(text)} is no revision name: it {broken}")
    return text


def are_names(dataset: str, revision: str) -> bool:
    """Whether both may be names: what a store says is passed by where they may not."""
    return _dataset_fault(dataset) is None and _revision_fault(revision) is None


def _dataset_fault(text: str) -> str | None:
    if not text:
        return "is empty"
    if len(text) > MAX_DATASET:
        return f"has {len(text)} characters, more than {MAX_DATASET}"
    for segment in text.split("/"):
        if not segment:
            return "has an empty part: no '/' at either end, and no two in a row"
        if not _SEGMENT.fullmatch(segment):
            return (
                "may hold only letters A-Z and a-z, digits, '.', '_' and '-' between its '/',"
                " and each part begins with a letter or digit"
            )
        fault = _segment_fault(segment)
        if fault:
            return fault
    return None


def _revision_fault(text: str) -> str | None:
    if not text:
        return "is empty"
    if len(text) > MAX_REVISION:
        return f"has {len(text)} characters, more than {MAX_REVISION}"
    if not _REVISION.fullmatch(text):
        return (
            "may hold only letters A-Z and a-z, digits, '.', '_', '+' and '-',"
            " and begins with a letter or digit"
        )
    if text == "latest":
        return "is taken: it means the newest revision"
    if _WHOLE_ID.fullmatch(text):
        return "looks like a manifest's id (40 hex digits)"
    return _segment_fault(text)


def _segment_fault(segment: str) -> str | None:
    if segment.endswith("."):
        return f"ends in '.', which Windows drops: {_quoted(segment)}"
    if _DEVICE.fullmatch(segment):
        return f"holds the name of a Windows device: {_quoted(segment)}"
    return None


@dataclass(frozen=True, slots=True)
class Spec:
    """A revision as a person names it; `revision` None is the newest, or may be an id's prefix."""

    remote: str | None
    dataset: str
    revision: str | None

    def __str__(self) -> str:
        remote = "" if self.remote is None else f"{self.remote}:"
        revision = "" if self.revision is None else f"@{self.revision}"
        return f"{remote}{self.dataset}{revision}"


def parse_spec(text: str) -> Spec:
    """Read `[remote:]dataset[@revision]`; `UsageError` if it cannot be meant.

    `@latest` and no revision at all are the same. Whether a revision is a name or the prefix of
    a manifest's id is for the store to say: an exact name wins.
    """
    remote, named = split_remote(text)
    dataset, at, revision = named.partition("@")
    check_dataset(dataset)
    if not at or revision == "latest":
        return Spec(remote, dataset, None)
    if not _ID_PREFIX.fullmatch(revision):
        check_revision(revision)
    return Spec(remote, dataset, revision)


def split_remote(text: str) -> tuple[str | None, str]:
    """Return the name of a remote that a text begins with, None if it names none, and the rest."""
    named, at, revision = text.partition("@")
    remote, colon, dataset = named.rpartition(":")
    if colon and not _SEGMENT.fullmatch(remote):
        raise UsageError(
            f"{_quoted(remote)} in {_quoted(text)} is no remote's name",
            hint="write [remote:]dataset[@revision]; give a path or a URL with --store",
        )
    if colon and not dataset:
        raise UsageError(
            f"{_quoted(text)} names a remote, and no dataset",
            hint=f"`dsa datasets --store {remote}` lists what there is",
        )
    return remote if colon else None, f"{dataset}{at}{revision}"


def is_folder(text: str) -> bool:
    """Say whether `text` is a folder, where a revision or a folder may stand."""
    return text.startswith((".", "/", "~"))


# --- the order of revisions ----------------------------------------------------------------------

_DIGITS = re.compile(r"([0-9]+)")

# In natural order a name is a pre-release only where a number goes before the letters, or else
# `data1` and `web2` were two.
_NATURAL_PRE_RELEASE = re.compile(r"[0-9][._-]?(?:a|b|rc)[0-9]+\Z", re.IGNORECASE)


def newest_first(revisions: Iterable[str]) -> list[str]:
    """Sort by PEP 440 if every name parses, else naturally (`r10` after `r9`), newest first.

    The order is total, so it does not depend on the order of the argument: names that PEP 440
    holds equal (`1.0`, `1`) follow the natural order, and what differs in case only its text.
    """
    return _newest_first(revisions)[0]


def latest(revisions: Iterable[str]) -> str | None:
    """Return the newest, a pre-release only if there is nothing else; None if there is none."""
    ordered, pre_releases = _newest_first(revisions)
    for revision in ordered:
        if revision not in pre_releases:
            return revision
    return ordered[0] if ordered else None


def _newest_first(revisions: Iterable[str]) -> tuple[list[str], set[str]]:
    """Return the revisions in order, and those among them that are pre-releases."""
    # Imported here: it costs more than all else that `dsa --help` needs of this module.
    from packaging.version import InvalidVersion, Version

    names = sorted(set(revisions), key=_natural, reverse=True)
    try:
        versions = {name: Version(name) for name in names}
    except InvalidVersion:
        return names, {name for name in names if _NATURAL_PRE_RELEASE.search(name)}
    names.sort(key=versions.__getitem__, reverse=True)  # stable: equal ones stay in natural order
    return names, {name for name in names if versions[name].pre is not None}


def _natural(text: str) -> tuple[list[tuple[int, str]], str]:
    """Return a key that takes runs of digits as numbers: by length, then by digits."""
    parts = _DIGITS.split(text.casefold())  # text and numbers in turn, text first
    parts[1::2] = (number.lstrip("0") for number in parts[1::2])
    return [(len(part) if i % 2 else 0, part) for i, part in enumerate(parts)], text


def folds_with(name: str, existing: Iterable[str]) -> str | None:
    """Return an existing name that a file system which ignores case takes for `name`, or None.

    Segments are compared from the left, for each is a folder: `A/b` clashes with `a/c`. Equal
    names, and one that lies below the other, do not clash.
    """
    segments = name.split("/")
    for other in existing:
        for ours, theirs in zip(segments, other.split("/"), strict=False):
            if ours == theirs:
                continue
            if ours.casefold() == theirs.casefold():
                return other
            break
    return None


# --- names inside a dataset ----------------------------------------------------------------------

# Code points that a file system may ignore when it compares names: HFS+ has the list that git
# guards against, a case-folding ext4 all that Unicode calls default ignorable, which holds it.
_IGNORABLE_RANGES = (
    (0x00AD, 0x00AD),
    (0x034F, 0x034F),
    (0x061C, 0x061C),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x200B, 0x200F),
    (0x202A, 0x202E),
    (0x2060, 0x206F),
    (0x3164, 0x3164),
    (0xFE00, 0xFE0F),
    (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0),
    (0xFFF0, 0xFFF8),
    (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A),
    (0xE0000, 0xE0FFF),
)
_IGNORABLE = "".join(rf"\x{{{low:X}}}-\x{{{high:X}}}" for low, high in _IGNORABLE_RANGES)
_IGNORED = re.compile("[" + "".join(f"{chr(a)}-{chr(b)}" for a, b in _IGNORABLE_RANGES) + "]")

# NTFS cuts trailing dots and spaces, takes what follows ':' for a stream, and may know `.dsa` by
# this short name; the same goes for `.git`.
_OUR_FOLDER = frozenset({".dsa", "dsa~1"})
_GIT_FOLDER = frozenset({".git", "git~1"})
_NTFS_END = re.compile(r"[:\\]")


def _any_spelling(names: Iterable[str]) -> str:
    """Return a pattern (RE2) of whole names: all that some file system takes for one of these."""
    letters = {letter: f"[{letter}{letter.upper()}]" for letter in "adgit"}
    letters |= {"s": "[sS\u017f]", ".": r"\."}
    spelled = (
        "".join(f"{letters.get(letter, letter)}[{_IGNORABLE}]*" for letter in name)
        for name in sorted(names)
    )
    return rf"^[{_IGNORABLE}]*(?:{'|'.join(spelled)})[. {_IGNORABLE}]*(?:\z|[:\\])"


#: The names that `check_entry_name` refuses but for their length or encoding, for RE2 (pyarrow's
#: `match_substring_regex`), so that a column of a million names is checked at array speed.
BAD_NAME_REGEX = rf"^\z|^\.\.?\z|[/\x00]|{_any_spelling(_OUR_FOLDER)}"

#: The names of which `is_git_folder` says so, for RE2 as well.
GIT_FOLDER_REGEX = _any_spelling(_GIT_FOLDER)


def check_entry_name(name: bytes) -> str:
    """Return the text of one name in a tree; ValueError says why it may not become a file.

    Refused: what is no name of an entry (empty, `.`, `..`, with `/` or NUL, over 255 bytes, not
    UTF-8), and every spelling that some file system takes for `.dsa`, our own folder.
    """
    if len(name) > MAX_ENTRY_BYTES:
        raise ValueError(f"a name of {len(name)} bytes, more than {MAX_ENTRY_BYTES}")
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError:
        shown = printable(name.decode("utf-8", "surrogateescape"))
        raise ValueError(f"the name '{shown}' is not UTF-8") from None
    if not text:
        raise ValueError("an empty name")
    if text in (".", ".."):
        raise ValueError(f"the name '{text}' stands for a folder itself")
    if "/" in text:
        raise ValueError(f"the name '{printable(text)}' holds a slash")
    if "\0" in text:
        raise ValueError(f"the name '{printable(text)}' holds NUL")
    if _as_seen(text) in _OUR_FOLDER:
        raise ValueError(f"the name '{printable(text)}' is a spelling of '.dsa'")
    return text


def is_git_folder(name: str) -> bool:
    """Say whether some file system takes a name for `.git`: no push takes it, no checkout writes it."""
    return _as_seen(name) in _GIT_FOLDER


def _as_seen(name: str) -> str:
    """Return a name without what file systems that ignore the most do not tell apart."""
    seen = name if name.isascii() else _IGNORED.sub("", name)
    return _NTFS_END.split(seen, maxsplit=1)[0].rstrip(". ").casefold()


def leaves_tree(folder: str, target: str) -> bool:
    """Say whether a link in `folder` ("" the root, else `a/b`) points out of the tree.

    By its text alone, as nothing of the tree need exist yet: an absolute target, more `..` than
    there are folders above, or no target at all. Where the target goes through another link,
    the text may promise less than the kernel does (`dsa.worktree.links`); dsa itself follows
    neither.
    """
    if not target or target.startswith("/") or "\0" in target:
        return True
    depth = len(folder.split("/")) if folder else 0
    for part in target.split("/"):
        if part == "..":
            depth -= 1
            if depth < 0:
                return True
        elif part not in ("", "."):
            depth += 1
    return False


# --- showing names -------------------------------------------------------------------------------

# C0, DEL, C1; line and paragraph separators; what turns the direction of text; lone surrogates.
_CONTROL = r"\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_TO_ESCAPE = re.compile(rf"[{_CONTROL}]|\\(?=[\\nrtxu{_CONTROL}])")
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t", "\\": r"\\"}


def printable(text: str) -> str:
    r"""Show a name on one line, and so that it cannot steer a terminal.

    Control characters, bidirectional overrides and lone surrogates come out as `\n`, `\r`, `\t`,
    `\x1b` or `\u202e`, all else as it is. A backslash is doubled only where it would otherwise
    read as the start of one of these: two names never come out the same, and most come out as
    they are.
    """
    return _TO_ESCAPE.sub(_escape, text)


def count(number: int, noun: str) -> str:
    """Write how many, such as `1 file` or `12,345 files`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    code = ord(character)
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def _quoted(text: str) -> str:
    return f"'{printable(text)}'"
