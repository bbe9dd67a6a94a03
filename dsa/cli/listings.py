"""How rows of lists read: entries of a folder, revisions, the log of a dataset."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from dsa.cas.names import count, printable
from dsa.cli.console import columns, lines_of, size, when
from dsa.errors import DamageError
from dsa.reports import Entry, LogEntry

if TYPE_CHECKING:
    from dsa.revision import Revision

_REGULAR = ("100644", "100755")
_FOLDER = "40000"


def paths(entries: Iterable[Entry]) -> Iterator[str]:
    """Write a path a line, escaped where it has to be; a folder ends in a slash."""
    return map(printable, map(_path, entries))


def raw_paths(entries: Iterable[Entry]) -> Iterator[str]:
    """Write paths as they are, for a reader who splits at NUL."""
    return map(_path, entries)


def _path(entry: Entry) -> str:
    return f"{entry.path}/" if entry.mode == _FOLDER else entry.path


def long(entries: Iterable[Entry]) -> Iterator[str]:
    """Write mode, size in bytes, number of files below, id, and path."""
    rows = (
        (
            entry.mode,
            str(entry.size),
            "-" if entry.files is None else str(entry.files),
            entry.sha1,
            path,
        )
        for entry, path in ((entry, printable(_path(entry))) for entry in entries)
    )
    return columns(rows, right=frozenset({0, 1, 2}))


def regular(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Keep regular files: what `sha256sum` can check."""
    return (entry for entry in entries if entry.mode in _REGULAR)


def sums(entries: Iterable[Entry]) -> Iterator[str]:
    r"""Write `<sha256>  <path>` as `sha256sum -c` reads it.

    As coreutils has it, a path with a backslash or a line break is escaped, and its line begins
    with a backslash.
    """
    for entry in entries:
        path = entry.path.replace("\\", r"\\").replace("\n", r"\n").replace("\r", r"\r")
        yield f"{chr(92) if path != entry.path else ''}{entry.sha256}  {path}"


def readable(found: Iterable[Revision]) -> Iterator[Revision]:
    """Yield the revisions that can be read; `DamageError` at the end names the others."""
    from dsa.verbs.history import complain

    damaged: list[str] = []
    for revision in found:
        try:
            _ = revision.info
        except DamageError as error:
            damaged.append(str(error))
            continue
        yield revision
    complain(damaged)


def long_revisions(found: Iterable[Revision]) -> Iterator[str]:
    """Write name, when, who, files, size, and the first line of the message."""
    rows = (
        (
            str(revision),
            when(revision.created),
            printable(revision.author),
            count(int(revision.info.get("files", 0)), "file"),
            size(int(revision.info.get("bytes", 0))),
            lines_of(revision.message)[0],
        )
        for revision in readable(found)
    )
    return (line.rstrip() for line in columns(rows, right=frozenset({3, 4})))


def revision_fields(found: Iterable[Revision], *, is_long: bool) -> Iterator[dict[str, Any]]:
    """Yield what `revisions --json` prints; without `-l` no `revision.json` is read."""
    keys = ["dataset", "revision", "manifest"]
    if is_long:
        keys += ["created", "author", "message"]
    for revision in readable(found):
        fields = {key: getattr(revision, key) for key in keys}
        if is_long:
            fields |= {key: revision.info.get(key) for key in ("files", "bytes")}
        yield fields


_KINDS = ("added", "removed", "modified", "renamed", "mode")


def log(entries: Iterable[LogEntry]) -> Iterator[str]:
    """Write a paragraph a revision: name, when, who; what changed; the message."""
    for entry in entries:
        name = f"{entry.dataset}@{entry.revision}"
        yield f"{name}  {when(entry.created)}  {printable(entry.author)}"
        yield f"    {count(entry.files, 'file')}, {size(entry.bytes)}{_against(entry)}"
        yield from (
            f"    {line}".rstrip() for line in lines_of(entry.message.strip("\n")) if entry.message
        )
        yield ""


def _against(entry: LogEntry) -> str:
    if entry.parent is None:
        return ""
    told = [f"{entry.changes[kind]:,} {kind}" for kind in _KINDS if entry.changes.get(kind)]
    return f"; against {printable(entry.parent)}: {', '.join(told) or 'no change'}"
