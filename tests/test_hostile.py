"""A store that means harm: it ends in a designed error, and nothing outside the folder is touched.

The store is written by hand: every check that a push makes is left out.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha1, sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from treetools import EMPTY, Link, look, make, refusal, snapshot

import dsa
from dsa.cas import listing
from dsa.cas.names import is_git_folder
from dsa.errors import AccessError, ConflictError, DamageError, DsaError, NotFoundError

Names = Mapping[bytes, Any]  # bytes: a file; (mode, bytes); a mapping: a folder


@dataclass
class Sum:
    tree: bytes
    sha256: bytes
    size: int
    files: int
    folders: int


class Forge:
    """Writes a store without a single check."""

    def __init__(self, root: Path) -> None:
        self.root = root
        dsa.init(root)

    def write(self, key: str, data: bytes) -> None:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(data)

    def loose(self, data: bytes) -> bytes:
        oid = sha1(data)
        self.write(f"objects/{oid.hexdigest()[:2]}/{oid.hexdigest()[2:]}", data)
        return oid.digest()

    def tree(self, names: Names, rows: list[dict[str, Any]], folder: bytes = b"") -> Sum:
        """Write a folder's tree and all below it; its rows are added to `rows`."""
        made = Sum(b"", b"", 0, 0, 0)
        body, lines = b"", b""
        mine: list[dict[str, Any]] = []
        below: list[dict[str, Any]] = []
        for name, what in names.items():
            if isinstance(what, Mapping):
                path = folder + b"/" + name if folder else name
                inner = self.tree(what, below, path)
                mode, oid, check, size = 0o40000, inner.tree, inner.sha256, inner.size
                made.files += inner.files
                made.folders += inner.folders + 1
                files = inner.files
            else:
                mode, data = what if isinstance(what, tuple) else (0o100644, what)
                oid, check, size, files = self.loose(data), sha256(data).digest(), len(data), None
                made.files += 1
            made.size += size
            body += b"%o %s\0%s" % (mode, name, oid)
            lines += b"%o %d %s %s\0" % (mode, size, check.hex().encode(), name)
            mine.append(
                {"folder": folder, "name": name, "mode": mode, "size": size, "files": files,
                 "sha1": oid, "sha256": check, "pack": None, "offset": None}
            )  # fmt: skip
        rows += mine + below
        made.tree = self.loose(b"tree %d\0" % len(body) + body)
        made.sha256 = sha256(lines).digest()
        return made

    def publish(
        self,
        names: Names,
        revision: str = "1",
        *,
        index: bool = True,
        change: Mapping[str, Any] | None = None,
        alter: Any = lambda rows: rows,
    ) -> str:
        """Publish `ds@revision`; `change` overrides fields of `revision.json`, `alter` the index's rows."""
        rows: list[dict[str, Any]] = []
        root = self.tree(names, rows)
        info = {
            "format": 1, "dataset": "ds", "revision": revision, "parent": None,
            "created": "2026-01-01T00:00:00.000Z", "author": {"name": "a", "email": "b"},
            "message": "", "files": root.files, "folders": root.folders, "bytes": root.size,
            "sha256": root.sha256.hex(), "metadata": {}, "dependencies": [],
        } | dict(change or {})  # fmt: skip
        text = json.dumps(info, sort_keys=True).encode()
        body = b"40000 data\0" + root.tree + b"100644 revision.json\0" + self.loose(text)
        manifest = self.loose(b"tree %d\0" % len(body) + body).hex()
        if index:
            self.index(manifest, root.tree, alter(rows))
        self.write(f"refs/ds/@{revision}", f"{manifest}\n".encode())
        return manifest

    def index(self, manifest: str, data: bytes, rows: list[dict[str, Any]]) -> None:
        rows = sorted(rows, key=lambda row: row["folder"])
        columns = [
            pa.array([row[field.name] for row in rows], pa.binary()).cast(pa.string(), safe=False)
            if field.name == "name"
            else pa.array([row[field.name] for row in rows], pa.binary())
            .cast(pa.string(), safe=False)
            .dictionary_encode()
            if field.name == "folder"
            else pa.array([row[field.name] for row in rows], field.type)
            for field in listing.SCHEMA
        ]
        table = pa.Table.from_arrays(columns, schema=listing.SCHEMA)
        table = table.replace_schema_metadata({"dsa.format": "1", "dsa.data": data.hex()})
        sink = pa.BufferOutputStream()
        with pq.ParquetWriter(sink, listing.SCHEMA, store_schema=False) as writer:
            writer.add_key_value_metadata({"dsa.format": "1", "dsa.data": data.hex()})
            writer.write_table(table)
        self.write(f"index/{manifest}.parquet", sink.getvalue().to_pybytes())


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    return Forge(tmp_path / "store")


@pytest.fixture
def store(forge: Forge) -> dsa.Store:
    return dsa.open(forge.root)


def refused(store: dsa.Store, tmp_path: Path, spec: str = "ds@1", **wish: Any) -> DsaError:
    """Check out what must be refused; return the error, all else being as it was."""
    cell = tmp_path / "cell"
    make(cell, {"outside/precious": b"precious", "precious": b"mine", "inside": EMPTY})
    shutil.rmtree(cell / "inside")
    before = snapshot(cell)
    with pytest.raises(DsaError) as caught:
        store.checkout(spec, cell / "inside", **wish)
    after = {
        path: thing for path, thing in snapshot(cell).items() if path.partition("/")[0] != "inside"
    }
    assert after == before
    assert "Traceback" not in str(caught.value)
    return caught.value


def test_the_forge_can_make_good_revisions(forge: Forge, store: dsa.Store, tmp_path: Path) -> None:
    names: Names = {b"a": b"1", b"d": {b"b": b"2", b"e": {}}, b"l": (0o120000, b"a")}
    forge.publish(names, "1")
    forge.publish(names, "2", index=False)
    for spec in ("ds@1", "ds@2"):
        store.checkout(spec, tmp_path / spec)
        assert look(tmp_path / spec) == {"a": b"1", "d/b": b"2", "d/e": EMPTY, "l": Link("a")}


BAD_NAMES = [
    b"..", b".", b"", b"a/b", b"/abs", b"../x", b".dsa", b".DSA", b".dsa.", b".dsa ", b"DSA~1",
    b".d\xe2\x80\x8csa", b".dsa::$INDEX_ALLOCATION", b"\xff", b"x" * 256, b".git", b".GIT", b".Git",
    b".git.", b"git~1", b"GIT~1", b".g\xe2\x80\x8cit", b".git::$INDEX_ALLOCATION",
]  # fmt: skip


@pytest.mark.parametrize("index", [True, False], ids=["index", "trees"])
@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("kind", ["file", "folder", "inside"])
def test_names_that_no_folder_may_hold(
    forge: Forge, store: dsa.Store, tmp_path: Path, name: bytes, kind: str, index: bool
) -> None:
    names: dict[str, Names] = {
        "file": {name: b"evil"},
        "folder": {name: {b"precious": b"evil"}},
        "inside": {b"a": {name: {b"precious": b"evil"}}},
    }
    forge.publish(names[kind], index=index)
    error = refused(store, tmp_path, force=True, clean=True)
    assert error.exit_code == 5
    assert not (tmp_path / "cell" / "inside").exists()
    if not is_git_folder(os.fsdecode(name)):
        # Else a name like any other, but for what other programs do with it.
        with pytest.raises(DsaError):
            list(store["ds@1"].files.items())
    # A push relies on nothing of such a parent.
    store.push("ds", "2", make(tmp_path / "t", {"x": b"x"}))
    store.checkout("ds@2", tmp_path / "w2")
    assert look(tmp_path / "w2") == {"x": b"x"}


@pytest.mark.parametrize(
    "target",
    [b"/etc/passwd", b"../outside", b"..", b"", b"x/../../outside", b"a\0b", b"\xff/../.."],
)
@pytest.mark.parametrize("index", [True, False], ids=["index", "trees"])
def test_links_that_leave_the_tree(
    forge: Forge, store: dsa.Store, tmp_path: Path, target: bytes, index: bool
) -> None:
    forge.publish(
        {b"a": b"good", b"d": {b"l": (0o120000, b"../a")}, b"evil": (0o120000, target)}, index=index
    )
    error = refused(store, tmp_path)
    assert error.exit_code == 5
    assert "evil" in error.problems[0]
    assert look(tmp_path / "cell" / "inside") == {"a": b"good", "d/l": Link("../a")}


def test_a_folder_through_what_was_a_link(forge: Forge, store: dsa.Store, tmp_path: Path) -> None:
    """First `x` is a link to a folder of the person's, then a folder with files in it."""
    forge.publish({b"x": (0o120000, b"mine")}, "1")
    forge.publish({b"x": {b"precious": b"evil"}}, "2")
    forge.publish({b"x": {b"y": (0o120000, b"../mine")}}, "3")
    forge.publish({b"x": {b"y": {b"precious": b"evil"}}}, "4")
    tree = tmp_path / "w"
    make(tree, {"mine/precious": b"mine"})
    for revision in "12341432":
        store.checkout(f"ds@{revision}", tree)
        assert (tree / "mine" / "precious").read_bytes() == b"mine"
        assert list((tree / "mine").iterdir()) == [tree / "mine" / "precious"]


@pytest.mark.parametrize("index", [True, False], ids=["index", "trees"])
@pytest.mark.parametrize(
    "names",
    [
        {b"x": (0o120000, b"d"), b"x/": {b"f": b"evil"}},
        {b"b": b"", b"a": b""},
        {b"a": (0o100664, b"")},
        {b"a": (0o160000, b"")},
        {b"a": (0o104755, b"")},
    ],
    ids=["slash", "order", "mode", "gitlink", "setuid"],
)
def test_trees_that_are_none(
    forge: Forge, store: dsa.Store, tmp_path: Path, names: Names, index: bool
) -> None:
    forge.publish(names, index=index)
    assert refused(store, tmp_path).exit_code == 5


def test_a_link_and_a_folder_of_one_name(forge: Forge, store: dsa.Store, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []
    inner = forge.tree({b"f": b"evil"}, rows)
    target = forge.loose(b"../outside")
    body = b"120000 x\0" + target + b"40000 x\0" + inner.tree
    data = forge.loose(b"tree %d\0" % len(body) + body)
    manifest = forge.publish({b"y": b""})
    old = (forge.root / "objects" / manifest[:2] / manifest[2:]).read_bytes()
    evil = forge.loose(old[: old.index(b"data\0") + 5] + data + old[old.index(b"data\0") + 25 :])
    forge.write("refs/ds/@1", evil.hex().encode() + b"\n")
    assert refused(store, tmp_path).exit_code == 5


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": "other"},
        {"revision": "2"},
        {"sha256": "0" * 64},
        {"files": 2},
        {"bytes": 2**62},
        {"files": 2**70},
        {"files": -1},
        {"files": 1.0},
        {"format": 2},
        {"author": None},
        {"created": "yesterday"},
        {"metadata": []},
    ],
    ids=str,
)
def test_a_revision_that_lies_about_itself(
    forge: Forge, store: dsa.Store, tmp_path: Path, change: dict[str, Any]
) -> None:
    forge.publish({b"a": b"1"}, change=change)
    assert refused(store, tmp_path).exit_code == 5


@pytest.mark.parametrize("size", [-1, 0, 2, 2**31, 2**40, 2**62, 2**63 - 1])
@pytest.mark.parametrize("link", [False, True])
def test_sizes_that_are_lies(
    forge: Forge, store: dsa.Store, tmp_path: Path, size: int, link: bool
) -> None:
    """The index and `revision.json` agree on a size that the object has not."""
    lines = b"100644 %d %s a\0" % (size, sha256(b"1").hexdigest().encode())
    forge.publish(
        {b"a": b"1"},
        change={"bytes": max(size, 0), "sha256": sha256(lines).hexdigest()},
        alter=lambda rows: [{**rows[0], "size": size}],
    )
    error = refused(store, tmp_path, link=link)
    assert error.exit_code == 5 or (error.exit_code == 1 and size >= 2**31)
    for read in (store["ds@1"].read, store["ds@1"].open):
        with pytest.raises(DsaError):
            read("a")


@pytest.mark.parametrize("pack", [None, bytes(20), b"real"])
@pytest.mark.parametrize("offset", [None, -1, 0, 71, 10**6, 2**62])
def test_hints_that_are_wrong_lead_to_the_right_bytes(
    forge: Forge, store: dsa.Store, tmp_path: Path, pack: bytes | None, offset: int | None
) -> None:
    apart = dsa.open(tmp_path / "apart", create=True)
    source = make(tmp_path / "t", {"a": b"right", "b": b"wrong", "large": bytes(300_000)})
    apart.push("ds", "1", source)
    shutil.copytree(apart.url, forge.root, dirs_exist_ok=True)
    packed = next(Path(apart.url, "packs").iterdir())
    hint = bytes.fromhex(packed.stem) if pack == b"real" else pack
    index = next(Path(forge.root, "index").iterdir())
    file = pq.ParquetFile(index)
    table, facts = file.read(), file.metadata.metadata
    for name, value in (("pack", hint), ("offset", offset)):
        at = table.schema.get_field_index(name)
        column = pa.array([value] * len(table), listing.SCHEMA.field(name).type)
        table = table.set_column(at, listing.SCHEMA.field(name), column)
    index.unlink()
    with pq.ParquetWriter(index, table.schema, store_schema=False) as writer:
        writer.add_key_value_metadata({key: facts[key] for key in facts if key.startswith(b"dsa.")})
        writer.write_table(table)
    store.checkout("ds@1", tmp_path / "w")
    assert look(tmp_path / "w") == look(source)
    assert store["ds@1"].read("a") == b"right"


def lying_part(forge: Forge, rows: list[dict[str, Any]]) -> None:
    sink = pa.BufferOutputStream()
    from dsa.cas.locations import SCHEMA

    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), sink, store_schema=False)
    data = sink.getvalue().to_pybytes()
    forge.write(f"locations/{sha1(data).hexdigest()}.parquet", data)


def test_locations_that_lie_are_found_out(forge: Forge, store: dsa.Store, tmp_path: Path) -> None:
    right = b"right"
    oid = sha1(right).digest()
    for number, (size, check, pack, offset) in enumerate(
        [
            (5, bytes(32), None, None),
            (5, bytes(32), bytes(20), 70),
            (-5, bytes(32), bytes(20), -70),
            (2**62, bytes(32), bytes(20), 2**62),
        ]
    ):
        lying_part(
            forge, [{"id": oid, "size": size, "sha256": check, "pack": pack, "offset": offset}]
        )
        store.push("ds", f"{number}", make(tmp_path / f"t{number}", {"a": right}))
        store.checkout(f"ds@{number}", tmp_path / f"w{number}")
        assert (tmp_path / f"w{number}" / "a").read_bytes() == right


@pytest.mark.parametrize(
    "data", [b"", b"PAR1", b"PAR1" * 100, b"\0" * 10_000], ids=["empty", "magic", "more", "zeros"]
)
def test_tables_that_are_none_are_passed_by(
    forge: Forge, store: dsa.Store, tmp_path: Path, data: bytes
) -> None:
    manifest = forge.publish({b"a": b"1", b"d": {b"b": b"2"}})
    forge.write(f"index/{manifest}.parquet", data)
    forge.write(f"locations/{sha1(data).hexdigest()}.parquet", data)
    forge.write("locations/other.parquet", data)
    forge.write(f"packs/{sha1(data).hexdigest()}.zip", data)
    forge.write("site/damaged/x.json", data)
    store.checkout("ds@1", tmp_path / "w")
    assert look(tmp_path / "w") == {"a": b"1", "d/b": b"2"}
    assert store["ds@1"].read("d/b") == b"2"
    assert store.push("ds", "2", make(tmp_path / "t", {"n": b"n"})).parent == "ds@1"


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"0" * 40, b"0" * 39 + b"\n", b"Z" * 40 + b"\n", b"0" * 10**6, b"../../x\n"],
    ids=["empty", "line", "no newline", "short", "digits", "long", "path"],
)
def test_refs_of_any_other_shape(
    forge: Forge, store: dsa.Store, tmp_path: Path, content: bytes
) -> None:
    forge.publish({b"a": b"1"}, "1")
    forge.write("refs/ds/@2", content)
    error = refused(store, tmp_path, "ds@2")
    assert error.exit_code == 5
    assert [revision.revision for revision in store.revisions("ds")] == ["1"]
    store.checkout("ds", tmp_path / "w")
    with pytest.raises(DsaError):
        store.push("ds", "2", make(tmp_path / "t", {"n": b"n"}))
    assert (forge.root / "refs" / "ds" / "@2").read_bytes() == content


def test_a_store_of_links_and_fifos(forge: Forge, store: dsa.Store, tmp_path: Path) -> None:
    manifest = forge.publish({b"a": b"1"})
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    os.mkfifo(forge.root / "refs" / "ds" / "@2")
    (forge.root / "refs" / "ds" / "@3").symlink_to(secret)
    os.mkfifo(forge.root / "refs" / "@x")
    for spec in ("ds@2", "ds@3"):
        assert isinstance(refused(store, tmp_path, spec), NotFoundError | DamageError)
    path = forge.root / "index" / f"{manifest}.parquet"
    path.unlink()
    os.mkfifo(path)
    blob = forge.root / "objects" / sha1(b"1").hexdigest()[:2] / sha1(b"1").hexdigest()[2:]
    blob.unlink()
    os.mkfifo(blob)
    error = refused(store, tmp_path)
    assert error.exit_code == 5


def test_a_store_from_the_future_is_not_touched(
    forge: Forge, store: dsa.Store, tmp_path: Path
) -> None:
    forge.publish({b"a": b"1"})
    text = json.loads((forge.root / "dsa.json").read_text())
    forge.write("dsa.json", json.dumps(text | {"requires": ["magic"]}).encode())
    with pytest.raises(DsaError, match="magic"):
        dsa.open(forge.root)
    forge.write("dsa.json", json.dumps(text | {"requires_to_write": ["magic"]}).encode())
    store = dsa.open(forge.root)
    store.checkout("ds", tmp_path / "w")
    with pytest.raises(DsaError, match="magic"):
        store.push("ds", "2", make(tmp_path / "t", {"b": b""}))


def test_names_that_clash_come_out_as_the_file_system_allows(
    forge: Forge, store: dsa.Store, tmp_path: Path
) -> None:
    forge.publish({b"A": b"1", b"a": b"2", b"cafe\xcc\x81": b"3", b"caf\xc3\xa9": b"4"})
    error = refusal(lambda: store.checkout("ds", tmp_path / "w"))
    if error:
        assert isinstance(error, ConflictError)
        assert error.problems
        assert not (tmp_path / "w").exists()
    else:
        assert len(look(tmp_path / "w")) == 4


def test_what_may_not_be_read_is_no_access(forge: Forge, store: dsa.Store, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    forge.publish({b"a": b"1"})
    (forge.root / "refs").chmod(0)
    assert isinstance(refused(store, tmp_path), AccessError)
