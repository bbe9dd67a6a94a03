"""Make the test vectors: good files that every later version reads, bad ones that it refuses.

They are committed and need not be made again; this program says how each one came about. It uses
nothing of dsa, only the standard library and plain pyarrow, so the good files are a second
writer's. All but the Parquet files come out the same with every release of its libraries.

    python tests/vectors/make.py [FOLDER]
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import struct
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

FILE, EXECUTABLE, LINK, FOLDER = 0o100644, 0o100755, 0o120000, 0o40000
Node = tuple[int, bytes] | dict[str, Any]  # a file or a link: mode and content; or a folder


def sha1(data: bytes) -> bytes:
    return hashlib.sha1(data, usedforsecurity=False).digest()


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def file(text: str, mode: int = FILE) -> Node:
    return mode, text.encode()


def link(target: str) -> Node:
    return LINK, target.encode()


# --- objects -------------------------------------------------------------------------------------


def tree(entries: Iterable[tuple[bytes, bytes, bytes]]) -> bytes:
    """Return a tree object of (mode, name, raw id), in the order given."""
    body = b"".join(mode + b" " + name + b"\0" + oid for mode, name, oid in entries)
    return b"tree %d\0" % len(body) + body


@dataclass
class Listing:
    """A folder walked: rows as in the index, and the objects that it is made of."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    blobs: dict[bytes, bytes] = field(default_factory=dict)
    trees: dict[bytes, bytes] = field(default_factory=dict)
    root: dict[str, Any] = field(default_factory=dict)
    folders: int = 0


def listing(top: dict[str, Any]) -> Listing:
    """Walk a folder: ids, sizes and SHA-256 of everything in it."""
    made = Listing()
    made.root = _walk(made, "", top)
    made.rows.sort(key=lambda row: (row["folder"].encode(), _git_order(row["name"], row["mode"])))
    return made


def _walk(made: Listing, folder: str, content: dict[str, Any]) -> dict[str, Any]:
    rows = []
    for name, node in content.items():
        if isinstance(node, dict):
            below = _walk(made, f"{folder}/{name}" if folder else name, node)
            made.folders += 1
            row = {"mode": FOLDER, **below}
        else:
            mode, data = node
            made.blobs[sha1(data)] = data
            row = {
                "mode": mode,
                "size": len(data),
                "files": None,
                "sha1": sha1(data),
                "sha256": sha256(data),
            }
        rows.append({"folder": folder, "name": name, **row})
    rows.sort(key=lambda row: _git_order(row["name"], row["mode"]))
    data = tree((b"%o" % row["mode"], row["name"].encode(), row["sha1"]) for row in rows)
    lines = b"".join(
        b"%o %d %s %s\0"
        % (row["mode"], row["size"], row["sha256"].hex().encode(), row["name"].encode())
        for row in rows
    )
    if rows:
        made.trees[sha1(data)] = data
    made.rows += rows
    files = sum(1 if row["files"] is None else row["files"] for row in rows)
    return {
        "size": sum(row["size"] for row in rows),
        "files": files,
        "sha1": sha1(data),
        "sha256": sha256(lines),
    }


def _git_order(name: str, mode: int) -> bytes:
    return name.encode() + (b"/" if mode == FOLDER else b"")


def strict(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def revision_json(made: Listing, dataset: str, revision: str, **more: Any) -> bytes:
    return strict(
        {
            "format": 1,
            "dataset": dataset,
            "revision": revision,
            "parent": None,
            "created": "2024-01-31T12:00:00.000Z",
            "author": {"name": "Ada Lovelace", "email": "ada@example.org"},
            "message": "",
            "files": made.root["files"],
            "folders": made.folders,
            "bytes": made.root["size"],
            "sha256": made.root["sha256"].hex(),
            "metadata": {},
            "dependencies": [],
            **more,
        }
    )


def manifest(data: bytes, revision: bytes) -> bytes:
    return tree([(b"40000", b"data", data), (b"100644", b"revision.json", sha1(revision))])


# --- packs, by the standard library's ZIP writer --------------------------------------------------


def pack(objects: Iterable[bytes]) -> tuple[bytes, dict[bytes, int]]:
    """Return a pack, and the offset of each object's first byte in it."""
    made = io.BytesIO()
    offsets = {}
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        for data in objects:
            entry = zipfile.ZipInfo(sha1(data).hex(), (1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.create_version, entry.extract_version = 0, 10, 10
            archive.writestr(entry, data)
            entry.external_attr = 0  # writestr had set one
            offsets[sha1(data)] = entry.header_offset + 70
    return made.getvalue(), offsets


# --- Parquet --------------------------------------------------------------------------------------

LOCATIONS = pa.schema(
    [
        ("id", pa.binary(20)),
        ("size", pa.int64()),
        ("sha256", pa.binary(32)),
        ("pack", pa.binary(20)),
        ("offset", pa.int64()),
    ]
)
INDEX = pa.schema(
    [
        ("folder", pa.string()),
        ("name", pa.string()),
        ("mode", pa.uint32()),
        ("size", pa.int64()),
        ("files", pa.int64()),
        ("sha1", pa.binary(20)),
        ("sha256", pa.binary(32)),
        ("pack", pa.binary(20)),
        ("offset", pa.int64()),
    ]
)


def parquet(
    rows: list[dict[str, Any]],
    schema: pa.Schema,
    facts: dict[str, str] | None = None,
    dictionary: Iterable[str] = ("folder", "mode", "pack"),
    group_rows: int = 16_384,
) -> bytes:
    made = io.BytesIO()
    with pq.ParquetWriter(
        made,
        schema,
        compression="zstd",
        store_schema=False,
        use_dictionary=[name for name in dictionary if name in schema.names],
        write_page_checksum=True,
    ) as writer:
        writer.add_key_value_metadata(facts or {})
        writer.write_table(pa.Table.from_pylist(rows, schema), row_group_size=group_rows)
    return made.getvalue()


def index(rows: list[dict[str, Any]], data: bytes, revision: bytes | None, **more: Any) -> bytes:
    facts = {"dsa.format": "1", "dsa.data": data.hex()}
    if revision is not None:
        facts["dsa.revision"] = revision.decode()
    return parquet(rows, more.pop("schema", INDEX), facts | more.pop("facts", {}), **more)


def patched(data: bytes, old: int, new: int, is_wanted: Callable[[pq.FileMetaData], bool]) -> bytes:
    """Return a Parquet file in whose footer one number says something else."""
    length = struct.unpack("<I", data[-8:-4])[0]
    body, footer = data[: -8 - length], data[-8 - length : -8]
    for at in range(len(footer)):
        if footer[at:].startswith(_varint(old)):
            changed = footer[:at] + _varint(new) + footer[at + len(_varint(old)) :]
            whole = body + changed + struct.pack("<I", len(changed)) + b"PAR1"
            try:
                if is_wanted(pq.read_metadata(io.BytesIO(whole))):
                    return whole
            except (OSError, pa.ArrowException):
                continue
    raise ValueError("no such number in the footer")


def _varint(number: int) -> bytes:
    """Return a number as Thrift's compact protocol writes it."""
    number <<= 1  # zigzag
    made = bytearray()
    while number > 127:
        made.append(number & 127 | 128)
        number >>= 7
    return bytes([*made, number])


# --- a whole store --------------------------------------------------------------------------------

GREETING_1: dict[str, Any] = {
    "README.txt": file("Hello, world.\n"),
    "bin": {"greet": file("#!/bin/sh\necho Hello, world.\n", EXECUTABLE)},
    "data": {
        'café, "au lait".csv': file("cup,price\n1,2.50\n"),
        "empty": file(""),
        "two\nlines": file("a name with a newline\n"),
        "up": link("../README.txt"),
    },
    "data.txt": file("in git's order this stands before the folder data\n"),
    "nothing": {},
    "start": link("README.txt"),
}
GREETING_2: dict[str, Any] = {
    **GREETING_1,
    "README.txt": file("Hello, all the world.\n"),
    "table": {"long.csv": file("".join(f"{n},{n * n}\n" for n in range(100)))},
}
RAW: dict[str, Any] = {"copy of README.txt": file("Hello, world.\n")}


class Store:
    """Files by key, filled in the order of a push."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.expected: dict[str, Any] = {}
        self._known: dict[bytes, tuple[bytes | None, int | None]] = {}

    def loose(self, data: bytes) -> bytes:
        name = sha1(data).hex()
        self.files[f"objects/{name[:2]}/{name[2:]}"] = data
        return sha1(data)

    def push(
        self, dataset: str, revision: str, top: dict[str, Any], loose_from: int, **more: Any
    ) -> dict[str, str]:
        made = listing(top)
        blobs = [made.blobs[row["sha1"]] for row in made.rows if row["mode"] != FOLDER]
        trees = [made.trees[row["sha1"]] for row in made.rows if row["sha1"] in made.trees]
        objects = dict.fromkeys([*blobs, *trees, made.trees[made.root["sha1"]]])
        new = [data for data in objects if sha1(data) not in self._known]
        for data in new:
            if len(data) >= loose_from:
                self._known[self.loose(data)] = (None, None)
        packed, offsets = pack(data for data in new if len(data) < loose_from)
        self._known |= {oid: (sha1(packed), offset) for oid, offset in offsets.items()}
        if offsets:
            self.files[f"packs/{sha1(packed).hex()}.zip"] = packed
        part = parquet(
            sorted(
                (
                    {"id": sha1(data), "size": len(data), "sha256": sha256(data)}
                    | dict(zip(("pack", "offset"), self._known[sha1(data)], strict=True))
                    for data in new
                ),
                key=lambda row: row["id"],
            ),
            LOCATIONS,
        )
        self.files[f"locations/{sha1(part).hex()}.parquet"] = part
        text = revision_json(made, dataset, revision, **more)
        whole = manifest(made.root["sha1"], text)
        self.loose(text)
        self.loose(whole)
        rows = [row | self._place(row) for row in made.rows]
        self.files[f"index/{sha1(whole).hex()}.parquet"] = index(rows, made.root["sha1"], text)
        self.files[f"refs/{dataset}/@{revision}"] = f"{sha1(whole).hex()}\n".encode()
        self.expected[f"{dataset}@{revision}"] = {
            "manifest": sha1(whole).hex(),
            "data": made.root["sha1"].hex(),
            "sha256": made.root["sha256"].hex(),
            "files": {
                f"{row['folder']}/{row['name']}".lstrip("/"): {
                    "mode": f"{row['mode']:o}",
                    "sha256": row["sha256"].hex(),
                    "content": made.blobs[row["sha1"]].decode(),
                }
                for row in made.rows
                if row["mode"] != FOLDER
            },
            "folders": sorted(
                f"{row['folder']}/{row['name']}".lstrip("/")
                for row in made.rows
                if row["mode"] == FOLDER
            ),
        }
        return {
            "dataset": dataset,
            "revision": revision,
            "manifest": sha1(whole).hex(),
            "sha256": sha256(text).hex(),
        }

    def _place(self, row: dict[str, Any]) -> dict[str, Any]:
        place = (None, None) if row["mode"] == FOLDER else self._known[row["sha1"]]
        return dict(zip(("pack", "offset"), place, strict=True))


LOG_1 = strict(
    {
        "format": 1,
        "uuid": "8a6f1f43-94ad-4f3f-9c59-52a7ce8f3d59",
        "author": "Ada Lovelace <ada@example.org>",
        "created": "2024-01-31T12:30:00.000Z",
        "previous": None,
        "metadata": {"title": "Greetings"},
        "tags": {},
    }
)
LOG_2 = strict(
    {
        "format": 1,
        "uuid": "0d1c7a3e-5a60-4a4b-8a3c-d3d0f6c0a2b7",
        "author": "Ada Lovelace <ada@example.org>",
        "created": "2024-02-01T08:00:00.000Z",
        "previous": sha256(LOG_1).hex(),
        "metadata": {"title": "Greetings", "keywords": ["hello", "world"]},
        "tags": {"stable": "1"},
    }
)
DSA_JSON = {
    "format": 1,
    "store": "6d0f6c3a-2f4e-4c0e-9b52-0d6a3c1f7e21",
    "created": "2024-01-31T11:59:59.000Z",
    "requires": [],
    "requires_to_write": [],
}
WITHDRAWN = "0123456789abcdef0123456789abcdef01234567"


def store() -> Store:
    made = Store()
    made.files["dsa.json"] = strict(DSA_JSON)
    first = made.push("greeting", "1", GREETING_1, 256 * 1024, message="first release")
    made.push(
        "greeting",
        "2",
        GREETING_2,
        512,  # which objects are loose is the writer's choice
        message="a wider world",
        parent=first,
        created="2024-02-01T07:59:59.999Z",
        metadata={"license": "CC0-1.0", "unit": {"price": "EUR"}},
    )
    made.push(
        "lab/raw",
        "2024-01-31",
        RAW,
        256 * 1024,
        dependencies=[first | {"requirement": "greeting@1"}],
        created="2024-02-02T00:00:00.000Z",
        keptForLater=[1, 2.5, None],
    )
    made.files["refs/greeting/@0"] = f"withdrawn {WITHDRAWN}\n".encode()
    made.files["log/greeting/@00000001.json"] = LOG_1
    made.files["log/greeting/@00000002.json"] = LOG_2
    for key, lines in _listings(made.files):
        made.files[key] = "".join(
            json.dumps(line, sort_keys=True) + "\n" for line in lines
        ).encode()
    return made


def _listings(files: dict[str, bytes]) -> list[tuple[str, list[dict[str, Any]]]]:
    refs = sorted(key.removeprefix("refs/") for key in files if key.startswith("refs/"))
    datasets = sorted({ref.rpartition("/@")[0] for ref in refs})
    parts = sorted(key for key in files if key.startswith("locations/"))
    revisions = [
        (
            f"listing/{dataset}/@revisions.jsonl",
            [
                {"revision": ref.rpartition("/@")[2], "ref": files[f"refs/{ref}"].decode()}
                for ref in refs
                if ref.rpartition("/@")[0] == dataset
            ],
        )
        for dataset in datasets
    ]
    return [
        *revisions,
        ("listing/@datasets.jsonl", [{"dataset": dataset} for dataset in datasets]),
        (
            "listing/@locations.jsonl",
            [{"part": key.removeprefix("locations/"), "size": len(files[key])} for key in parts],
        ),
    ]


# --- one kind after the other: (name, bytes, expected value; None for a bad one) ------------------

Vector = tuple[str, bytes, Any]
A, B, C = (bytes([n]) * 20 for n in (0xAA, 0xBB, 0xCC))


def trees() -> Iterator[Vector]:
    good: dict[str, list[tuple[bytes, bytes, bytes]]] = {
        "empty": [],
        "every-mode": [
            (b"100644", b"a file", A),
            (b"40000", b"folder", B),
            (b"120000", b"link", C),
            (b"100755", b"program", A),
        ],
        "git-order": [(b"100644", b"a.b", A), (b"40000", b"a", B), (b"100644", b"a0", C)],
        "odd-names": [
            (b"100644", b" ", A),
            (b"100644", b"\n", A),
            (b"100644", b'"quoted", comma', A),
            (b"100644", b"-rf", A),
            (b"100644", b"...", A),
            (b"100644", b".dsaignore", A),
            (b"100644", b".git", A),
            (b"100644", b"CON", A),
            (b"100644", b"\\", A),
            (b"100644", b"n" * 255, A),
            (b"100644", "ﬁle".encode(), A),
            (b"100644", "\U0001f600".encode(), A),
        ],
        "canonically-equal-names": [
            (b"100644", "e\u0301".encode(), A),
            (b"100644", "é".encode(), B),
        ],
        "manifest": [(b"40000", b"data", A), (b"100644", b"revision.json", B)],
    }
    good["odd-names"].sort(key=lambda entry: entry[1])
    for name, entries in good.items():
        yield (
            name,
            tree(entries),
            [[mode.decode(), text.decode(), oid.hex()] for mode, text, oid in entries],
        )

    def one(text: bytes, mode: bytes = b"100644") -> bytes:
        return tree([(mode, text, A)])

    plain = one(b"name")
    bad = {
        "name-dot": one(b"."),
        "name-dot-dot": one(b".."),
        "name-dot-dot-folder": one(b"..", b"40000"),
        "name-empty": one(b""),
        "name-slash": one(b"a/b"),
        "name-absolute": one(b"/etc"),
        "name-nul": one(b"a\0b"),
        "name-not-utf-8": one(b"caf\xe9"),
        "name-utf-8-surrogate": one(b"\xed\xa0\x80"),
        "name-256-bytes": one(b"n" * 256),
        "name-dsa": one(b".dsa", b"40000"),
        "name-dsa-upper-case": one(b".DSA", b"40000"),
        "name-dsa-space": one(b".dsa ", b"40000"),
        "name-dsa-dot": one(b".dsa.", b"40000"),
        "name-dsa-short": one(b"dSa~1", b"40000"),
        "name-dsa-stream": one(b".dsa::$INDEX_ALLOCATION", b"40000"),
        "name-dsa-backslash": one(b".dsa\\state", b"100644"),
        "name-dsa-ignorable": one(".d\u200csa".encode(), b"40000"),
        "name-dsa-long-s": one(".dſa".encode(), b"40000"),
        "unsorted": tree([(b"100644", b"b", A), (b"100644", b"a", B)]),
        "unsorted-folder": tree([(b"40000", b"a", A), (b"100644", b"a.b", B)]),
        "name-twice": tree([(b"100644", b"a", A), (b"100644", b"a", B)]),
        "name-twice-file-and-folder": tree([(b"100644", b"a", A), (b"40000", b"a", B)]),
        "name-twice-file-and-folder-apart": tree(
            [(b"100644", b"a", A), (b"100644", b"a.b", B), (b"40000", b"a", C)]
        ),
        "mode-leading-zero": one(b"name", b"0100644"),
        "mode-folder-leading-zero": one(b"name", b"040000"),
        "mode-group-writable": one(b"name", b"100664"),
        "mode-all": one(b"name", b"100777"),
        "mode-submodule": one(b"name", b"160000"),
        "mode-device": one(b"name", b"20644"),
        "mode-zero": one(b"name", b"0"),
        "mode-empty": one(b"name", b""),
        "mode-not-octal": one(b"name", b"100648"),
        "mode-sign": one(b"name", b"+100644"),
        "mode-underscore": one(b"name", b"100_644"),
        "mode-huge": one(b"name", b"7" * 40),
        "header-missing": plain.partition(b"\0")[2],
        "header-of-a-blob": plain.replace(b"tree", b"blob", 1),
        "header-upper-case": plain.replace(b"tree", b"TREE", 1),
        "header-too-short": plain.replace(b"tree 32", b"tree 31", 1),
        "header-too-long": plain.replace(b"tree 32", b"tree 33", 1),
        "header-leading-zero": plain.replace(b"tree 32", b"tree 032", 1),
        "header-space": plain.replace(b"tree 32", b"tree  32", 1),
        "header-negative": plain.replace(b"tree 32", b"tree -1", 1),
        "header-no-nul": plain.replace(b"\0", b"", 1),
        "nothing": b"",
        "trailing-garbage": plain + b"x",
        "trailing-nul": plain.replace(b"tree 32", b"tree 33", 1) + b"\0",
        "cut-in-id": b"tree 31\0" + plain.partition(b"\0")[2][:-1],
        "cut-in-name": b"tree 8\x00" + b"100644 n",
        "id-missing": b"tree 12\x00" + b"100644 name\0",
        "sha256-ids": b"tree 44\x00" + b"100644 name\0" + bytes(32),
    }
    for name, data in bad.items():
        yield name, data, None


def manifests() -> Iterator[Vector]:
    yield "plain", manifest(A, b"{}"), {"data": A.hex(), "revision.json": sha1(b"{}").hex()}
    data, text = (b"40000", b"data", A), (b"100644", b"revision.json", B)
    yield "without-data", tree([text]), None
    yield "without-revision", tree([data]), None
    yield "empty", tree([]), None
    yield "more", tree([data, (b"100644", b"more", C), text]), None
    yield "data-is-a-file", tree([(b"100644", b"data", A), text]), None
    yield "data-is-a-link", tree([(b"120000", b"data", A), text]), None
    yield "revision-is-executable", tree([data, (b"100755", b"revision.json", B)]), None
    yield "revision-is-a-folder", tree([data, (b"40000", b"revision.json", B)]), None
    yield "other-names", tree([(b"40000", b"Data", A), text]), None
    yield "unsorted", tree([text, data]), None
    yield "not-a-tree", b"{}\n", None


def revisions() -> Iterator[Vector]:
    made = listing(GREETING_1)
    first = revision_json(made, "greeting", "1", message="first release")
    value = json.loads(first)
    parent = {"dataset": "greeting", "revision": "0", "manifest": "0" * 40, "sha256": "1" * 64}
    full = value | {
        "parent": parent,
        "message": "two\nlines, and \U0001f600",
        "metadata": {"a": {"b": [1, 2.5, None, True, "x"]}},
        "dependencies": [parent | {"requirement": "greeting"}],
        "anything": {"further": "is kept"},
    }
    yield "first", first, value
    yield "full", strict(full), full
    yield "compact", json.dumps(value, separators=(",", ":")).encode(), value  # any layout is read
    yield (
        "largest-numbers",
        strict(value | {"files": 2**63 - 1, "bytes": 2**63 - 1}),
        value
        | {
            "files": 2**63 - 1,
            "bytes": 2**63 - 1,
        },
    )

    def without(key: str) -> bytes:
        return strict({name: item for name, item in value.items() if name != key})

    for key in value:
        yield f"without-{key}", without(key), None
    changes: dict[str, dict[str, Any]] = {
        "format-2": {"format": 2},
        "format-text": {"format": "1"},
        "format-true": {"format": True},
        "dataset-number": {"dataset": 1},
        "dataset-climbs": {"dataset": "../greeting"},
        "revision-latest": {"revision": "latest"},
        "files-negative": {"files": -1},
        "files-fraction": {"files": 2.0},
        "files-true": {"files": True},
        "files-text": {"files": "7"},
        "bytes-2-to-the-63": {"bytes": 2**63},
        "folders-null": {"folders": None},
        "sha256-upper-case": {"sha256": value["sha256"].upper()},
        "sha256-short": {"sha256": value["sha256"][:-1]},
        "sha256-null": {"sha256": None},
        "created-no-milliseconds": {"created": "2024-01-31T12:00:00Z"},
        "created-offset": {"created": "2024-01-31T12:00:00.000+00:00"},
        "created-no-such-day": {"created": "2024-02-30T12:00:00.000Z"},
        "created-newline": {"created": "2024-01-31T12:00:00.000Z\n"},
        "author-text": {"author": "Ada Lovelace <ada@example.org>"},
        "author-without-email": {"author": {"name": "Ada"}},
        "message-null": {"message": None},
        "metadata-array": {"metadata": []},
        "metadata-null": {"metadata": None},
        "dependencies-object": {"dependencies": {}},
        "dependency-text": {"dependencies": ["greeting@1"]},
        "dependency-without-requirement": {"dependencies": [parent]},
        "dependency-climbs": {"dependencies": [parent | {"dataset": "../a", "requirement": ""}]},
        "parent-text": {"parent": "greeting@0"},
        "parent-empty": {"parent": {}},
        "parent-short-id": {"parent": parent | {"manifest": "0" * 39}},
        "parent-climbs": {"parent": parent | {"dataset": "a/../b"}},
        "parent-sha256-missing": {
            "parent": {key: parent[key] for key in ("dataset", "revision", "manifest")}
        },
        "lone-surrogate-escaped": {},
    }
    surrogate = changes.popitem()[0]
    for name, change in changes.items():
        yield name, strict(value | change), None
    yield surrogate, first.replace(b'"first release"', b'"\\ud800"'), None
    deep = b'{"a": ' + b"[" * 20_000 + b"]" * 20_000 + b","
    yield "nested-beyond-any-stack", deep + first.removeprefix(b"{"), None
    for name, data in _not_json(first):
        yield name, data, None


def _not_json(good: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield what no strict reader of JSON takes; `good` holds an object, written over lines."""
    opened = good.removeprefix(b"{")
    yield "key-twice", b'{"created": "",' + opened
    yield "key-twice-inside", b'{"a": {"b": 1, "b": 1},' + opened
    yield "nan", b'{"a": NaN,' + opened
    yield "infinity", b'{"a": -Infinity,' + opened
    yield "number-too-large", b'{"a": 1e999,' + opened
    yield "nested-too-deeply", b'{"a": ' + b"[" * 101 + b"]" * 101 + b"," + opened
    yield "not-utf-8", b'{"a": "caf\xe9",' + opened
    yield "utf-16", good.decode().encode("utf-16")
    yield "byte-order-mark", b"\xef\xbb\xbf" + good
    yield "surrogate-in-utf-8", b'{"a": "\xed\xa0\x80",' + opened
    yield "an-array", b"[" + good + b"]"
    yield "a-number", b"1\n"
    yield "null", b"null\n"
    yield "empty", b""
    yield "cut", good[: len(good) // 2]
    yield "two-values", good + good
    yield "trailing-comma", good.rstrip().removesuffix(b"}") + b",}"
    yield "single-quotes", b"{'a': 1," + opened
    yield "comment", b"// comment\n" + good
    yield "nul-behind", good + b"\0"


def packs() -> Iterator[Vector]:
    objects = [b"", b"one\n", b"PK\x05\x06 looks like a ZIP end record, and is content" + bytes(22)]
    good, offsets = pack(objects)
    yield "three", good, [[sha1(data).hex(), offsets[sha1(data)], len(data)] for data in objects]
    single, offsets = pack(objects[1:2])
    yield "one", single, [[sha1(objects[1]).hex(), 70, 4]]
    count = 40
    many, offsets = pack(b"%d" % number for number in range(count))
    expected = [
        [sha1(b"%d" % n).hex(), offsets[sha1(b"%d" % n)], len(str(n))] for n in range(count)
    ]
    yield "forty", many, expected

    start = struct.unpack("<L", good[-6:-2])[0]
    record, end = start, len(good) - 22

    def put(at: int, form: str, value: int, data: bytes = good) -> bytes:
        raw = struct.pack(form, value)
        return data[:at] + raw + data[at + len(raw) :]

    def zipped(change: Callable[[zipfile.ZipFile], None], comment: bytes = b"") -> bytes:
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w") as archive:
            change(archive)
            archive.comment = comment
        return made.getvalue()

    def entry(data: bytes, **fields: Any) -> zipfile.ZipInfo:
        made = zipfile.ZipInfo(sha1(data).hex(), (1980, 1, 1, 0, 0, 0))
        made.create_system, made.create_version, made.extract_version = 0, 10, 10
        for name, value in fields.items():
            setattr(made, name, value)
        return made

    def of(data: bytes, **fields: Any) -> bytes:
        return zipped(lambda archive: archive.writestr(entry(data, **fields), data))

    def renamed(name: bytes) -> bytes:
        return single.replace(sha1(objects[1]).hex().encode(), name)

    first = 46 + 40
    gap = put(len(good) - 6, "<L", start + 1)
    gap = gap[:start] + b"\0" + gap[start:]
    shifted = b"\0" + good[:-6] + struct.pack("<L", start + 1) + good[-2:]
    bad = {
        "gap": gap,
        "gap-in-front": shifted,
        "overlap": put(record + first + 42, "<L", 0),
        "offset-behind-the-end": put(record + 2 * first + 42, "<L", 2**31),
        "size-behind-the-end": both_sizes(good, record + 2 * first, 2**30),
        "entries-out-of-order": good[:record]
        + good[record + first : record + 2 * first]
        + good[record : record + first]
        + good[record + 2 * first :],
        "extra-field": of(b"one\n", extra=b"\x99\x99\x02\x00ab"),
        "comment": zipped(
            lambda archive: archive.writestr(entry(b"one\n"), b"one\n"), b"a comment"
        ),
        "entry-comment": of(b"one\n", comment=b"a comment"),
        "deflated": of(b"one\n" * 20, compress_type=zipfile.ZIP_DEFLATED),
        "name-twice": zipped_twice(),
        "name-upper-case": renamed(sha1(objects[1]).hex().upper().encode()),
        "name-not-hex": renamed(b"../../../../../../../../../../etc/cron.d/"[:40].ljust(40, b"x")),
        "name-short": single.replace(
            sha1(objects[1]).hex().encode(), sha1(objects[1]).hex()[:39].encode()
        ),
        "zip64": zipped(_zip64),
        "encrypted-flag": put(8 + record, "<H", 1, put(6, "<H", 1)),
        "utf-8-flag": put(8 + record, "<H", 0x800, put(6, "<H", 0x800)),
        "data-descriptor-flag": put(8 + record, "<H", 8, put(6, "<H", 8)),
        "version-20": of(b"one\n", create_version=20, extract_version=20),
        "host-unix": of(b"one\n", create_system=3),
        "attributes": of(b"one\n", external_attr=0o644 << 16),
        "internal-attributes": of(b"one\n", internal_attr=1),
        "time": of(b"one\n", date_time=(2024, 1, 31, 12, 0, 0)),
        "disk": put(record + 34, "<H", 1),
        "two-sizes": put(record + 20, "<L", 7),
        "count-more": put(end + 10, "<H", 4, put(end + 8, "<H", 4)),
        "count-less": put(end + 10, "<H", 2, put(end + 8, "<H", 2)),
        "count-two-values": put(end + 8, "<H", 2),
        "count-zero": put(end + 10, "<H", 0, put(end + 8, "<H", 0)),
        "directory-length": put(end + 12, "<L", 3 * first - 1),
        "directory-start": put(end + 16, "<L", start - 1),
        "directory-start-huge": put(end + 16, "<L", 2**32 - 1),
        "end-disk": put(end + 4, "<H", 1),
        "truncated": good[:-1],
        "truncated-directory": good[: start + 10],
        "truncated-at-entries": good[:start],
        "front-cut": good[1:],
        "prefix": b"#!/bin/sh\n" + good,
        "trailing-garbage": good + b"x",
        "empty": b"",
        "not-a-zip": b"a text that is longer than an end record\n",
    }
    for name, data in bad.items():
        yield name, data, None
    # The directory alone is in order; `verify` compares it with the headers in front of the bytes.
    yield "local-crc-differs", put(14, "<L", 1), None
    yield "local-size-differs", put(70 + 18, "<L", 5), None
    yield "local-name-differs", good[:30] + b"0" * 40 + good[70:], None
    yield "local-flags-differ", put(6, "<H", 1), None
    yield "local-magic", b"PK\x03\x05" + good[4:], None
    yield "local-extra-length", put(28, "<H", 4), None


def both_sizes(data: bytes, record: int, size: int) -> bytes:
    """Return a pack of which one directory record says `size`."""
    raw = struct.pack("<L", size)
    return data[: record + 20] + raw + raw + data[record + 28 :]


def zipped_twice() -> bytes:
    one, _ = pack([b"one\n"])
    start = struct.unpack("<L", one[-6:-2])[0]
    local, record = one[:start], one[start:-22]
    second = record[:42] + struct.pack("<L", start) + record[46:]
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 2, 2, 2 * len(record), 2 * start, 0)
    return local + local + record + second + end


def _zip64(archive: zipfile.ZipFile) -> None:
    made = zipfile.ZipInfo(sha1(b"one\n").hex(), (1980, 1, 1, 0, 0, 0))
    made.create_system, made.create_version = 0, 45
    with archive.open(made, "w", force_zip64=True) as file_:
        file_.write(b"one\n")


def _row(data: bytes, pack_: bytes | None = None, offset: int | None = None) -> dict[str, Any]:
    return {
        "id": sha1(data),
        "size": len(data),
        "sha256": sha256(data),
        "pack": pack_,
        "offset": offset,
    }


def _says_size(lie: int, found: pq.FileMetaData) -> bool:
    """Whether a patched footer says this of the second column."""
    return bool(found.row_group(0).column(1).total_compressed_size == lie)


def location_parts() -> Iterator[Vector]:
    rows = sorted(
        [_row(b"loose"), _row(b"packed", A, 70), _row(b"", A, 146)], key=lambda row: row["id"]
    )
    good = parquet(rows, LOCATIONS)
    yield (
        "three",
        good,
        [
            {key: item.hex() if isinstance(item, bytes) else item for key, item in row.items()}
            for row in rows
        ],
    )
    yield "none", parquet([], LOCATIONS), []
    wider = LOCATIONS.append(pa.field("more", pa.string()))
    yield (
        "further-column",
        parquet([row | {"more": "x"} for row in rows], wider),
        [
            {key: item.hex() if isinstance(item, bytes) else item for key, item in row.items()}
            for row in rows
        ],
    )

    def typed(name: str, kind: pa.DataType, value: Any) -> bytes:
        at = LOCATIONS.get_field_index(name)
        return parquet(
            [row | {name: value} for row in rows], LOCATIONS.set(at, pa.field(name, kind))
        )

    def missing(name: str) -> bytes:
        return parquet(rows, LOCATIONS.remove(LOCATIONS.get_field_index(name)))

    for name in LOCATIONS.names:
        yield f"without-{name}", missing(name), None
    for name in ("id", "size", "sha256"):
        yield f"null-{name}", parquet([rows[0], rows[1] | {name: None}, rows[2]], LOCATIONS), None
    yield "id-of-32-bytes", typed("id", pa.binary(32), bytes(32)), None
    yield "id-text", typed("id", pa.string(), "0" * 40), None
    yield "id-bytes-of-any-length", typed("id", pa.binary(), A), None
    yield "sha256-of-20-bytes", typed("sha256", pa.binary(20), A), None
    yield "size-text", typed("size", pa.string(), "1"), None
    yield "size-fraction", typed("size", pa.float64(), 1.5), None
    yield "pack-of-32-bytes", typed("pack", pa.binary(32), bytes(32)), None
    yield "offset-list", typed("offset", pa.list_(pa.int64()), [1]), None
    yield "not-parquet", b"id,size\n", None
    yield "empty", b"", None
    yield "truncated", good[:-1], None
    yield "truncated-front", good[10:], None
    yield "magic-only", b"PAR1PAR1", None
    yield "footer-length-lies", good[:-8] + struct.pack("<I", 2**31 - 1) + b"PAR1", None
    yield "page-flipped", good[:30] + bytes([good[30] ^ 0xFF]) + good[31:], None
    size = pq.read_metadata(io.BytesIO(good)).row_group(0).column(1).total_uncompressed_size
    yield (
        "claims-a-terabyte",
        patched(
            good,
            size,
            2**40,
            lambda found: found.row_group(0).column(1).total_uncompressed_size == 2**40,
        ),
        None,
    )
    yield "rows-lie", patched(good, 3, 2**40, lambda found: found.num_rows == 2**40), None
    yield (
        "group-rows-lie",
        patched(good, 3, 2**40, lambda found: found.row_group(0).num_rows == 2**40),
        None,
    )
    yield "row-group-too-large", parquet([rows[0]] * 65_537, LOCATIONS, group_rows=65_537), None
    size = pq.read_metadata(io.BytesIO(good)).row_group(0).column(1).total_compressed_size
    for name, lie in ("column-ends-later", size + 1), ("column-ends-sooner", size - 1):
        yield (
            name,
            patched(
                good,
                size,
                lie,
                partial(_says_size, lie),
            ),
            None,
        )


def indexes() -> Iterator[Vector]:
    made = listing(GREETING_1)
    data = made.root["sha1"]
    text = revision_json(made, "greeting", "1", message="first release")
    rows = [row | {"pack": None, "offset": None} for row in made.rows]

    def at(folder: str, name: str) -> int:
        return next(
            n for n, row in enumerate(rows) if (row["folder"], row["name"]) == (folder, name)
        )

    def but(folder: str, name: str, /, **change: Any) -> bytes:
        changed = list(rows)
        changed[at(folder, name)] = rows[at(folder, name)] | change
        return index(changed, data, text)

    def swapped(one: int, other: int) -> bytes:
        changed = list(rows)
        changed[one], changed[other] = changed[other], changed[one]
        return index(changed, data, text)

    def without(*gone: int) -> list[dict[str, Any]]:
        return [row for n, row in enumerate(rows) if n not in gone]

    def typed(name: str, kind: pa.DataType, value: Any) -> bytes:
        schema = INDEX.set(INDEX.get_field_index(name), pa.field(name, kind))
        return index([row | {name: value} for row in rows], data, text, schema=schema)

    good = index(rows, data, text)
    yield "plain", good, True
    yield "without-revision-text", index(rows, data, None), True
    yield (
        "wrong-hints",
        index([row | {"pack": A, "offset": 2**62} for row in rows], data, text),
        True,
    )
    yield "all-dictionaries", index(rows, data, text, dictionary=INDEX.names), True
    yield (
        "further-column",
        index(
            [row | {"more": "x"} for row in rows],
            data,
            text,
            schema=INDEX.append(pa.field("more", pa.string())),
        ),
        True,
    )

    readme, cafe = at("", "README.txt"), at("data", 'café, "au lait".csv')
    yield "rows-out-of-order", swapped(readme, readme + 1), None
    yield (
        "folders-out-of-order",
        index(
            [
                *(row for row in rows if row["folder"] != "bin"),
                *(row for row in rows if row["folder"] == "bin"),
            ],
            data,
            text,
        ),
        None,
    )
    yield "two-runs-of-one-folder", index([*without(cafe), rows[cafe]], data, text), None
    yield "name-twice", index([rows[0], *rows[:-1]], data, text), None
    yield "file-and-folder-of-one-name", but("", "data.txt", name="data"), None
    yield "orphan-folder", but("bin", "greet", folder="bin2"), None
    yield "orphan-folder-below-a-file", but("bin", "greet", folder="README.txt"), None
    yield "folder-row-missing", but("", "bin", name="bit"), None
    yield "folder-with-slash-at-its-end", but("bin", "greet", folder="bin/"), None
    yield "folder-with-slash-in-front", but("bin", "greet", folder="/bin"), None
    yield "folder-size-lies", but("", "data", size=7), None
    yield "folder-files-lies", but("", "data", files=7), None
    yield "folder-files-null", but("", "data", files=None), None
    yield "folder-sha1-lies", but("", "data", sha1=A), None
    yield "folder-sha256-lies", but("", "data", sha256=bytes(32)), None
    yield "empty-folder-sha1-lies", but("", "nothing", sha1=A), None
    yield "empty-folder-size-lies", but("", "nothing", size=1), None
    yield "file-size-lies", but("bin", "greet", size=1), None
    yield "file-size-negative", but("bin", "greet", size=-1), None
    yield "file-size-overflows", but("bin", "greet", size=2**63 - 1), None
    yield "file-files-not-null", but("bin", "greet", files=1), None
    yield "file-sha1-lies", but("bin", "greet", sha1=A), None
    yield "file-sha256-lies", but("bin", "greet", sha256=bytes(32)), None
    yield "file-mode-lies", but("bin", "greet", mode=FILE), None
    yield "mode-group-writable", but("bin", "greet", mode=0o100664), None
    yield "mode-submodule", but("bin", "greet", mode=0o160000), None
    yield "name-dot-dot", but("bin", "greet", name=".."), None
    yield "name-slash", but("bin", "greet", name="a/b"), None
    yield "name-nul", but("bin", "greet", name="a\0b"), None
    yield "name-empty", but("bin", "greet", name=""), None
    yield "name-dsa", but("", "bin", name=".DSA "), None
    yield "name-256-bytes", but("bin", "greet", name="n" * 256), None
    yield (
        "path-too-long",
        index([*rows[:-1], rows[cafe] | {"folder": "/".join(["d" * 255] * 17)}], data, text),
        None,
    )
    yield (
        "path-too-deep",
        index([*rows[:-1], rows[cafe] | {"folder": "/".join(["d"] * 256)}], data, text),
        None,
    )
    yield "row-missing", index(without(readme), data, text), None
    yield "row-more", index([*rows, rows[-1] | {"folder": "start2"}], data, text), None
    yield "no-rows", index([], data, text), None
    for name in ("folder", "name", "mode", "size", "sha1", "sha256"):
        yield f"null-{name}", but("bin", "greet", **{name: None}), None
    for name in INDEX.names:
        schema = INDEX.remove(INDEX.get_field_index(name))
        yield f"without-{name}", index(rows, data, text, schema=schema), None
    yield (
        "columns-in-another-order",
        index(rows, data, text, schema=pa.schema(reversed(list(INDEX)))),
        None,
    )
    yield "folder-number", typed("folder", pa.int64(), 1), None
    yield "name-bytes-not-utf-8", typed("name", pa.binary(), b"\xff"), None
    yield "mode-text", typed("mode", pa.string(), "100644"), None
    yield "sha1-text", typed("sha1", pa.string(), "0" * 40), None
    yield "sha256-of-20-bytes", typed("sha256", pa.binary(20), A), None
    yield "size-fraction", typed("size", pa.float64(), 1.5), None
    yield "offset-list", typed("offset", pa.list_(pa.int64()), [1]), None
    other = listing(GREETING_2)
    yield "of-other-data", index(rows, other.root["sha1"], text), None
    yield (
        "of-another-manifest",
        index(
            [row | {"pack": None, "offset": None} for row in other.rows], other.root["sha1"], text
        ),
        None,
    )
    yield "format-2", index(rows, data, text, facts={"dsa.format": "2"}), None
    yield "format-missing", parquet(rows, INDEX, {"dsa.data": data.hex()}), None
    yield "data-missing", parquet(rows, INDEX, {"dsa.format": "1"}), None
    yield "data-upper-case", index(rows, data, text, facts={"dsa.data": data.hex().upper()}), None
    yield "data-not-ascii", index(rows, data, text, facts={"dsa.data": "é" * 20}), None
    yield "not-parquet", b"folder,name\n", None
    yield "empty", b"", None
    yield "truncated", good[:-1], None
    yield "footer-length-lies", good[:-8] + struct.pack("<I", 2**31 - 1) + b"PAR1", None
    yield "page-flipped", good[:40] + bytes([good[40] ^ 0xFF]) + good[41:], None
    count = len(rows)
    size = pq.read_metadata(io.BytesIO(good)).row_group(0).column(1).total_uncompressed_size
    yield (
        "rows-lie",
        patched(good, count, count + 1, lambda found: found.num_rows == count + 1),
        None,
    )
    yield (
        "group-rows-lie",
        patched(good, count, 2**40, lambda found: found.row_group(0).num_rows == 2**40),
        None,
    )
    yield (
        "claims-a-terabyte",
        patched(
            good,
            size,
            2**40,
            lambda found: found.row_group(0).column(1).total_uncompressed_size == 2**40,
        ),
        None,
    )
    # Small files whose columns would be gigabytes.
    bomb = "b" * 60_000
    many = [rows[cafe] | {"folder": "", "name": bomb} for _ in range(16_384)]
    yield (
        "bomb-of-one-name-many-times",
        index(many, data, text, dictionary=["folder", "name"]),
        None,
    )
    long = index([*rows[:-1], rows[-1] | {"name": "b" * 40_000_000}], data, text)
    size = pq.read_metadata(io.BytesIO(long)).row_group(0).column(1).total_uncompressed_size
    yield (
        "bomb-of-one-long-name",
        patched(
            long,
            size,
            1000,
            lambda found: found.row_group(0).column(1).total_uncompressed_size == 1000,
        ),
        None,
    )
    wide = INDEX.append(pa.field("more", pa.string()))
    unknown = [rows[cafe] | {"folder": "", "more": bomb}] * 16_384
    yield (
        "bomb-in-a-further-column",
        index(unknown, data, text, schema=wide, dictionary=["folder", "more"]),
        None,
    )
    prefixes = io.BytesIO()
    with pq.ParquetWriter(
        prefixes,
        INDEX,
        compression="zstd",
        store_schema=False,
        use_dictionary=False,
        column_encoding={"name": "DELTA_BYTE_ARRAY"},
    ) as writer:
        writer.add_key_value_metadata({"dsa.format": "1", "dsa.data": data.hex()})
        writer.write_table(pa.Table.from_pylist(many, INDEX), row_group_size=16_384)
    yield "bomb-of-shared-prefixes", prefixes.getvalue(), None


def refs() -> Iterator[Vector]:
    name = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
    yield "plain", f"{name}\n".encode(), {"manifest": name, "withdrawn": False}
    yield "withdrawn", f"withdrawn {name}\n".encode(), {"manifest": name, "withdrawn": True}
    bad = {
        "no-newline": name,
        "crlf": f"{name}\r\n",
        "two-newlines": f"{name}\n\n",
        "newline-in-front": f"\n{name}\n",
        "upper-case": f"{name.upper()}\n",
        "empty": "",
        "newline-only": "\n",
        "withdrawn-only": "withdrawn",
        "withdrawn-nothing": "withdrawn \n",
        "withdrawn-no-newline": f"withdrawn {name}",
        "withdrawn-twice": f"withdrawn withdrawn {name}\n",
        "withdrawn-two-spaces": f"withdrawn  {name}\n",
        "withdrawn-upper-case": f"Withdrawn {name}\n",
        "space-in-front": f" {name}\n",
        "space-behind": f"{name} \n",
        "short": f"{name[:-1]}\n",
        "long": f"{name}0\n",
        "sha256": f"{'0' * 64}\n",
        "not-hex": f"{name[:-1]}g\n",
        "wide-digits": f"{name[:-1]}\uff14\n",
        "byte-order-mark": f"\ufeff{name}\n",
        "nul": f"{name}\0",
        "two": f"{name}\n{name}\n",
        "symbolic": "ref: refs/heads/main\n",
        "path": "../../dsa.json\n",
    }
    for rule, text in bad.items():
        yield rule, text.encode(), None


def log_entries() -> Iterator[Vector]:
    yield "first", LOG_1, json.loads(LOG_1)
    yield "second", LOG_2, json.loads(LOG_2)
    value = json.loads(LOG_2)
    for key in ("format", "uuid", "author", "created", "previous"):
        yield (
            f"without-{key}",
            strict({name: item for name, item in value.items() if name != key}),
            None,
        )
    changes: dict[str, dict[str, Any]] = {
        "format-2": {"format": 2},
        "format-true": {"format": True},
        "uuid-null": {"uuid": None},
        "author-object": {"author": {"name": "Ada"}},
        "created-number": {"created": 1706702400},
        "previous-upper-case": {"previous": value["previous"].upper()},
        "previous-sha1": {"previous": "0" * 40},
        "previous-number": {"previous": 0},
    }
    for name, change in changes.items():
        yield name, strict(value | change), None
    for name, data in _not_json(LOG_2):
        yield name, data, None


def store_files() -> Iterator[Vector]:
    good = strict(DSA_JSON)
    yield "plain", good, {"store": DSA_JSON["store"], "unknown_to_write": []}
    yield (
        "further-keys",
        strict(DSA_JSON | {"more": {"is": "kept"}}),
        {
            "store": DSA_JSON["store"],
            "unknown_to_write": [],
        },
    )
    yield (
        "requires-more-to-write",
        strict(DSA_JSON | {"requires_to_write": ["later"]}),
        {
            "store": DSA_JSON["store"],
            "unknown_to_write": ["later"],
        },
    )
    changes: dict[str, dict[str, Any]] = {
        "format-2": {"format": 2},
        "format-text": {"format": "1"},
        "format-true": {"format": True},
        "store-null": {"store": None},
        "store-no-uuid": {"store": "my-store"},
        "requires-unknown": {"requires": ["later"]},
        "requires-text": {"requires": "later"},
        "requires-numbers": {"requires": [1]},
        "requires-null": {"requires": None},
        "requires-to-write-object": {"requires_to_write": {}},
    }
    for name, change in changes.items():
        yield name, strict(DSA_JSON | change), None
    for key in ("format", "store"):
        yield (
            f"without-{key}",
            strict({name: item for name, item in DSA_JSON.items() if name != key}),
            None,
        )
    for name, data in _not_json(good):
        yield name, data, None


def damage_records() -> Iterator[Vector]:
    places = [{"id": A.hex(), "pack": B.hex()}, {"id": C.hex(), "pack": None}]
    value = {"created": "2024-01-31T12:00:00.000Z", "places": places}
    yield "two", strict(value), [[A.hex(), B.hex()], [C.hex(), None]]
    yield "none", strict(value | {"places": []}), []
    changes: dict[str, Any] = {
        "id-short": [{"id": "aa", "pack": None}],
        "id-spaces": [{"id": " ".join(["aa"] * 20), "pack": None}],
        "id-upper-case": [{"id": A.hex().upper(), "pack": None}],
        "id-null": [{"id": None, "pack": None}],
        "id-number": [{"id": 1, "pack": None}],
        "pack-missing": [{"id": A.hex()}],
        "pack-short": [{"id": A.hex(), "pack": "bb"}],
        "pack-empty": [{"id": A.hex(), "pack": ""}],
        "places-object": {"id": A.hex()},
        "places-number": 1,
        "place-text": [A.hex()],
    }
    for name, change in changes.items():
        yield name, strict(value | {"places": change}), None
    yield "places-missing", strict({"created": value["created"]}), None
    for name, data in _not_json(strict(value)):
        yield name, data, None


NAMES: dict[str, dict[str, list[str]]] = {
    "dataset": {
        "good": [
            "a",
            "0",
            "some-set",
            "Lab/2024/raw_data.v2",
            "a" * 200,
            "latest",
            "com10",
            "console",
            "a.b-c_d",
        ],
        "bad": [
            "",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "a/../b",
            ".hidden",
            "a/.hidden",
            "-a",
            "_a",
            "a ",
            "a b",
            "a@b",
            "a+b",
            "a:b",
            "a\\b",
            "a.",
            "a./b",
            "con",
            "NUL.txt",
            "a/COM1",
            "lpt9.",
            "a" * 201,
            "é",
            "a\n",
            "a\0",
        ],
    },
    "revision": {
        "good": [
            "1",
            "000",
            "1.0+local",
            "2024-01-31",
            "v1.0-rc.1",
            "a" * 100,
            "4b825dc",
            "0" * 39,
            "Latest",
        ],
        "bad": [
            "",
            "latest",
            "0" * 40,
            "AB" * 20,
            "a/b",
            "@1",
            ".1",
            "+1",
            "-1",
            "1.",
            "1 ",
            "1\n",
            "aux",
            "prn.1",
            "a" * 101,
            "é",
            "1@2",
        ],
    },
    "link": {
        "good": [
            "README.txt",
            "../README.txt",
            ".",
            "./x",
            "..",
            "x/../../y",
            "x//y",
            "~",
            "a\\..\\..\\b",
        ],
        "bad": ["", "/", "/etc/passwd", "../..", "../../x", "x/../../../y", "./../../x", "a\0b"],
    },
}


# --- writing it all -------------------------------------------------------------------------------

KINDS: dict[str, tuple[str, Callable[[], Iterator[Vector]]]] = {
    "trees": ("tree", trees),
    "manifests": ("tree", manifests),
    "revisions": ("json", revisions),
    "packs": ("zip", packs),
    "locations": ("parquet", location_parts),
    "index": ("parquet", indexes),
    "refs": ("ref", refs),
    "log": ("json", log_entries),
    "stores": ("json", store_files),
    "damaged": ("json", damage_records),
}


def main(root: Path) -> None:
    for kind, (suffix, make) in KINDS.items():
        shutil.rmtree(root / kind, ignore_errors=True)
        (root / kind / "good").mkdir(parents=True)
        (root / kind / "bad").mkdir()
        values = {}
        for name, data, value in make():
            quality = "bad" if value is None else "good"
            target = root / kind / quality / f"{name}.{suffix}"
            if target.exists():
                raise ValueError(f"two vectors are called {target}")
            target.write_bytes(data)
            if value is not None:
                values[name] = value
        _write_json(root / kind / "good.json", values)
    _write_json(root / "names.json", NAMES)
    made = listing(GREETING_1)
    text = revision_json(made, "greeting", "1", message="first release")
    (root / "index" / "revision.json").write_bytes(text)
    (root / "index" / "manifest.tree").write_bytes(manifest(made.root["sha1"], text))
    shutil.rmtree(root / "store", ignore_errors=True)
    whole = store()
    for key, data in whole.files.items():
        target = root / "store" / key
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    _write_json(root / "store.json", whole.expected)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
