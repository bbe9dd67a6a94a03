"""Trees: git's tree objects, read strictly. docs/format.md, "Objects".

dulwich packs and parses the entries; it lets hostile trees pass, so every check is made here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from dsa.cas.ids import ObjectId, Sha256, TreeId
from dsa.cas.names import check_entry_name

FILE = 0o100644
EXECUTABLE = 0o100755
LINK = 0o120000
FOLDER = 0o40000
MODES = (FILE, EXECUTABLE, LINK, FOLDER)

MAX_TREE_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One name in a folder; `id` is a blob's, or, where `mode` is FOLDER, a tree's."""

    name: str
    mode: int
    id: ObjectId


def tree_header(length: int) -> bytes:
    """Return what stands before a tree's entries, which have `length` bytes."""
    return b"tree %d\0" % length


def tree_id(body: bytes) -> TreeId:
    """Return the id of the tree with these entries, without joining header and body."""
    digest = hashlib.sha1(tree_header(len(body)), usedforsecurity=False)
    digest.update(body)
    return TreeId(ObjectId(digest.digest()))


def encode_tree(entries: Iterable[TreeEntry]) -> bytes:
    """Return the bytes of a tree object, header included, in git's order."""
    from dulwich.objects import ObjectID as HexId
    from dulwich.objects import serialize_tree

    items = sorted(entries, key=_git_order)
    body = b"".join(
        serialize_tree(
            (entry.name.encode(), entry.mode, HexId(str(entry.id).encode())) for entry in items
        )
    )
    return tree_header(len(body)) + body


def decode_tree(data: bytes) -> list[TreeEntry]:
    """Return the entries of a tree object; a ValueError unless it is exactly as it must be."""
    from dulwich.errors import ObjectFormatException
    from dulwich.objects import parse_tree

    header, nul, body = data.partition(b"\0") if len(data) <= MAX_TREE_BYTES else (b"", b"", b"")
    if not nul or header + nul != tree_header(len(body)):
        raise ValueError("the tree's header does not give its length")
    try:
        parsed = list(parse_tree(body, 20, strict=True))
    except (ObjectFormatException, ValueError, IndexError) as error:
        raise ValueError(f"not a tree: {error}") from error
    entries = [
        TreeEntry(check_entry_name(name), mode, ObjectId.parse(hexid.decode()))
        for name, mode, hexid in parsed
    ]
    for entry in entries:
        if entry.mode not in MODES:
            raise ValueError(f"{entry.name!r} has the mode {entry.mode:o}, which no tree may hold")
    if len({entry.name for entry in entries}) != len(entries):
        raise ValueError("the tree has a name twice")
    if encode_tree(entries) != data:  # order, and the one way to write a mode
        raise ValueError("the tree is not written in git's order and manner")
    return entries


def folder_sha256(lines: Iterable[tuple[TreeEntry, int, Sha256]]) -> Sha256:
    """Return a folder's SHA-256 from its entries with their sizes in bytes and their SHA-256."""
    digest = hashlib.sha256()
    for entry, size, sha256 in sorted(lines, key=lambda line: _git_order(line[0])):
        digest.update(
            b"%o %d %s %s\0" % (entry.mode, size, str(sha256).encode(), entry.name.encode())
        )
    return Sha256(digest.digest())


def _git_order(entry: TreeEntry) -> bytes:
    return entry.name.encode() + (b"/" if entry.mode == FOLDER else b"")


EMPTY_TREE = TreeId(ObjectId.of(tree_header(0)))
EMPTY_SHA256 = Sha256.of(b"")
