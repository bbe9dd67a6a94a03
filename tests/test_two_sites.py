"""Two sites, a gateway each: what goes over the wire between them, headers and all."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from servers.ceph import Ceph
from servers.proxy import relay

import dsa
from dsa.cas.names import parse_spec
from dsa.cas.objectstore import ObjectStore
from dsa.cas.trees import FOLDER
from dsa.remotes.connect import connect

FOLDERS = 100
CHURN = 0.02
INDEX_BYTES = 60  # a file, with each revision
SLACK = 1.05


def make(root: Path, files: int) -> None:
    """Make files of about 4 KiB."""
    some = random.Random(1)
    for number in range(files):
        path = root / f"folder-{number % FOLDERS:03}" / f"file-{number:06}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(some.randbytes(some.randrange(2048, 6144)))


def change(root: Path, files: int, round_: int) -> int:
    """Write some files anew; return their bytes."""
    some, size = random.Random(round_), 0
    for number in some.sample(range(files), round(files * CHURN)):
        data = some.randbytes(some.randrange(2048, 6144))
        (root / f"folder-{number % FOLDERS:03}" / f"file-{number:06}").write_bytes(data)
        size += len(data)
    return size


def tree_bytes(url: str, options: dict[str, str], new: str, old: str) -> int:
    """Return the bytes of the trees of one revision that another one lacks."""
    store = ObjectStore(connect(url, options))
    rows, before = (
        store.indexes.listing(store.revisions.get(*store.revisions.resolve(parse_spec(text)))).table
        for text in (new, old)
    )
    known, size, changed = set(before["sha1"].to_pylist()), 0, {""}
    for row in rows.select(["folder", "name", "mode", "sha1"]).to_pylist():
        if row["mode"] == FOLDER and row["sha1"] not in known:
            changed.add(f"{row['folder']}/{row['name']}".lstrip("/"))
    for row in rows.select(["folder", "name", "mode"]).to_pylist():
        if row["folder"] in changed:
            size += len(f"{row['mode']:o} {row['name']}\0".encode()) + 20
    return size


@pytest.mark.slow
def test_a_mirror_sends_what_is_new_and_little_else(
    gateway: Ceph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in gateway.writer.environment().items():
        monkeypatch.setenv(name, value)
    files, source = 20_000, tmp_path / "source"
    make(source, files)
    url, there = f"s3://{gateway.bucket()}", f"s3://{gateway.bucket()}"
    options = {"endpoint": gateway.endpoint}
    here = dsa.open(url, create=True, options=options)
    over = []
    with relay(gateway.endpoint) as wire:
        target = dsa.open(there, create=True, options=options)
        for number in range(11):
            new = change(source, files, number) if number else 0
            here.push("set", f"{number:02}", source)
            before = wire.total
            afar = dsa.open(url, options={"endpoint": wire.endpoint})
            report = afar.mirror(target, ["set"])
            assert report.is_clean
            if number:
                trees = tree_bytes(url, options, f"set@{number:02}", f"set@{number - 1:02}")
                over.append((wire.total - before) / (new + trees + INDEX_BYTES * files))
        requests = dsa.open(url, options=options).mirror(target, ["set"]).requests
    assert target.verify(data=True).findings == ()
    assert max(over) <= SLACK, over
    assert requests < 20
