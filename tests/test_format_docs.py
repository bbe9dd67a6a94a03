"""docs/format.md says what is so: its examples are real, its commands run, its reader reads."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha1, sha256
from pathlib import Path

import pytest
from format_examples import PAGE, ROOT, STORE, examples, find, render
from treetools import ODD, Exec, Thing, make

import dsa
from dsa.cas import layout, listing, manifest, names, packs, parquet, trees
from dsa.cas.ids import ObjectId

READER = ROOT / "docs" / "reader.py"
TEXT = PAGE.read_text(encoding="utf-8")
EXAMPLES = examples(TEXT)

# --- the page -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "argument", "content"),
    [
        pytest.param(*found, id=f"{n}-{found[0]}-{found[1][:40]}")
        for n, found in enumerate(EXAMPLES)
    ],
)
def test_an_example_is_real(kind: str, argument: str, content: str) -> None:
    assert content == render(kind, argument, content)


def test_there_is_an_example_of_every_kind_of_file() -> None:
    shown = " ".join(argument for _, argument, _ in EXAMPLES)
    for start in ("dsa.json", "packs/", "locations/", "index/", "refs/", "log/", "listing/"):
        assert start in shown
    assert {kind for kind, _, _ in EXAMPLES} >= {"object", "json", "lines", "console", "rows"}


def test_every_example_with_a_comment_is_checked() -> None:
    assert len(EXAMPLES) == TEXT.count("\n<!-- ") >= 15


def test_the_examples_of_a_folder_come_to_its_digests() -> None:
    folder = find("11c298fb979c812c07dd2a50c26f163165f495f6")
    lines = next(content for kind, _, content in EXAMPLES if kind == "lines")
    raw = lines.replace("\\0\n", "\0").encode()
    rows = next(content for kind, key, content in EXAMPLES if kind == "rows" and "index" in key)
    data = next(line for line in rows.splitlines() if '"name": "data"' in line)
    assert sha1(folder).hexdigest()[:8] in data
    assert sha256(raw).hexdigest()[:8] in data


def test_what_the_code_refers_to_is_a_heading() -> None:
    headings = set(re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE))
    wanted = {
        (path.name, heading)
        for path in (ROOT / "dsa").rglob("*.py")
        for heading in re.findall(r'docs/format\.md,\s"([^"]+)"', path.read_text(encoding="utf-8"))
    }
    assert len(wanted) > 8
    assert {pair for pair in wanted if pair[1] not in headings} == set()


def test_links_within_the_page_lead_somewhere() -> None:
    anchors = {
        re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= anchors
    for target in re.findall(r"\]\(([^#)][^)]*)\)", TEXT):
        assert (PAGE.parent / target).exists(), target


def test_limits_are_those_of_the_code() -> None:
    for number in (
        f"| a path in a dataset | {listing.MAX_PATH_BYTES:,} bytes |",
        f"| a name in it | {listing.MAX_NAME_BYTES} bytes |",
        f"| parts of a path, the name included | {listing.MAX_DEPTH} |",
        f"| `revision.json`, an entry of a log | {manifest.MAX_REVISION_BYTES >> 20} MiB |",
        f"| a manifest | {manifest.MAX_MANIFEST_BYTES:,} bytes |",
        f"| a tree | {trees.MAX_TREE_BYTES >> 20} MiB |",
        f"| a pack | 2^{packs.MAX_BYTES.bit_length()} − 1 bytes, {packs.MAX_ENTRIES:,} entries |",
        f"at most {parquet.MAX_GROUP_ROWS:,} rows",
        f"at most {names.MAX_DATASET} characters",
        f"at most {names.MAX_REVISION} characters",
        f"Objects below {layout.LOOSE_FROM_BYTES >> 10} KiB",
    ):
        assert number in TEXT, number


def test_the_page_lists_all_ignored_code_points() -> None:
    found = re.search(r"The code points: (U\+.*?)\.", TEXT, re.DOTALL)
    assert found
    listed = {
        tuple(int(code, 16) for code in (item.split("–") * 2)[:2])
        for item in re.findall(r"[0-9A-F]{4,5}(?:–[0-9A-F]{4,5})?", found[1])
    }
    assert listed == set(names._IGNORABLE_RANGES)


# --- the reader -----------------------------------------------------------------------------------


def recover(store: Path, name: str, target: Path) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [
        sys.executable,
        "-I",
        "-S",
        "-W",
        "error",
        str(READER),
        store,
        name,
        target,
    ]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_reader_is_short_and_needs_the_standard_library_alone() -> None:
    source = READER.read_text(encoding="utf-8")
    assert len(source.splitlines()) < 100
    assert max(map(len, source.splitlines())) <= 100
    imported = {
        name.name if isinstance(node, ast.Import) else str(node.module)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in node.names
    }
    assert imported <= sys.stdlib_module_names


def test_the_reader_gives_back_what_dsa_pushed(tmp_path: Path) -> None:
    more: dict[str, Thing] = {
        "large program": Exec(bytes(range(256)) * 4096),
        ".dsaignore": b"*.tmp\n",
        ".dsax": b"no spelling of .dsa",
        "left.tmp": b"ignored",
    }
    folder = make(tmp_path / "folder", {**ODD, **more})
    store = dsa.open(tmp_path / "store", create=True)
    store.push("some/set", "1", folder)
    (folder / "a").write_text("changed\n")
    store.push("some/set", "2", folder)
    (folder / "left.tmp").unlink()
    for revision, first in (("2", "changed\n"), ("1", "14")):
        (folder / "a").write_text(first)
        made = recover(tmp_path / "store", f"some/set@{revision}", tmp_path / revision)
        assert (made.returncode, made.stderr) == (0, "")
        compared = subprocess.run(
            ["diff", "-r", "--no-dereference", folder, tmp_path / revision],
            capture_output=True,
            text=True,
        )
        assert (compared.returncode, compared.stdout) == (0, "")
        for path in folder.rglob("*"):
            other = tmp_path / revision / path.relative_to(folder)
            assert path.lstat().st_mode & 0o170100 == other.lstat().st_mode & 0o170100
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2", "folder", "store"]


def test_the_reader_takes_every_name_that_the_format_takes(tmp_path: Path) -> None:
    for path in sorted((ROOT / "tests/vectors/trees/good").iterdir()):
        if path.stem in ("every-mode", "manifest", "empty"):
            continue
        made = recover(with_tree(tmp_path / path.stem, path.read_bytes()), "d@1", tmp_path / "out")
        assert "is missing" in made.stderr  # its objects: the tree itself was taken
        shutil.rmtree(tmp_path / "out")


def with_tree(store: Path, data: bytes) -> Path:
    """Make a store in which `d@1` names this tree, whatever it is."""
    wanted = {"dataset": "d", "revision": "1", "files": 99, "folders": 99, "bytes": 0, "sha256": ""}
    text = json.dumps(wanted).encode()

    def put(content: bytes) -> bytes:
        path = store / layout.object_key(ObjectId.of(content))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return sha1(content).digest()

    (store / "refs/d").mkdir(parents=True)
    body = b"40000 data\0" + put(data) + b"100644 revision.json\0" + put(text)
    (store / "refs/d/@1").write_text(put(b"tree %d\0" % len(body) + body).hex() + "\n")
    for content in (b"x", b"../../outside", b"/etc/passwd", b"", b"a\0b"):
        put(content)
    return store


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem)
        for path in sorted((ROOT / "tests/vectors/trees/bad").iterdir())
    ],
)
def test_the_reader_refuses_every_bad_tree(path: Path, tmp_path: Path) -> None:
    data = path.read_bytes()
    for oid in (b"\xaa" * 20, b"\xbb" * 20):
        data = data.replace(oid, sha1(b"x").digest())
    made = recover(with_tree(tmp_path / "store", data), "d@1", tmp_path / "out")
    assert made.returncode == 1
    assert "is missing" not in made.stderr
    assert "SHA-256" not in made.stderr  # that of the whole, which is no tree's business
    left = [found for found in (tmp_path / "out").rglob("*") if found.is_file()]
    assert len(left) <= 2  # what stood before a name that is there twice
    assert {path.name for path in tmp_path.iterdir()} <= {"store", "out", "out.part"}


@pytest.mark.parametrize("target", [b"../../outside", b"/etc/passwd", b"", b"a\0b"])
def test_the_reader_refuses_links_that_leave_the_folder(target: bytes, tmp_path: Path) -> None:
    data = b"120000 link\0" + sha1(target).digest()
    store = with_tree(tmp_path / "store", b"tree %d\0" % len(data) + data)
    made = recover(store, "d@1", tmp_path / "out")
    assert (made.returncode, "bad" in made.stderr) == (1, True)
    assert not os.path.lexists(tmp_path / "out" / "link")


def damaged_object(store: Path) -> None:
    path = store / "objects/ea/3ce05d45b501f7d8e92ef8b2720416a4f73f65"
    path.write_bytes(path.read_bytes().replace(b"7,49", b"7,50"))


def missing_pack(store: Path) -> None:
    (store / "packs/c74cd7f33643b8e415035ba9a1da688ed8504fc5.zip").unlink()


def truncated_pack(store: Path) -> None:
    path = store / "packs/c74cd7f33643b8e415035ba9a1da688ed8504fc5.zip"
    path.write_bytes(path.read_bytes()[:-30])


def other_name(store: Path) -> None:
    shutil.copy(store / "refs/greeting/@1", store / "refs/greeting/@2")


def withdrawn(store: Path) -> None:
    shutil.copy(store / "refs/greeting/@0", store / "refs/greeting/@2")


def not_a_manifest(store: Path) -> None:
    (store / "refs/greeting/@2").write_text("11c298fb979c812c07dd2a50c26f163165f495f6\n")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (damaged_object, "ea3ce05d45b501f7d8e92ef8b2720416a4f73f65 is damaged"),
        (missing_pack, "is missing"),
        (truncated_pack, "is missing"),
        (other_name, "another's name"),
        (withdrawn, "names nothing"),
        (not_a_manifest, ""),
    ],
)
def test_the_reader_stops_at_damage(
    change: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    store = Path(shutil.copytree(STORE, tmp_path / "store"))
    change(store)
    made = recover(store, "greeting@2", tmp_path / "out")
    assert made.returncode == 1
    assert message in made.stderr
    assert not (tmp_path / "out" / "table" / "long.csv").exists()


def test_the_reader_keeps_off_a_folder_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    made = recover(STORE, "greeting@1", tmp_path / "out")
    assert (made.returncode, "FileExistsError" in made.stderr) == (1, True)
    assert list((tmp_path / "out").iterdir()) == []
