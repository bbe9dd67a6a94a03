from __future__ import annotations

import subprocess
from dataclasses import replace
from hashlib import sha1, sha256
from pathlib import Path

import pytest

from dsa.cli import listings, text
from dsa.reports import (
    Change,
    CheckoutReport,
    DiffReport,
    Entry,
    Finding,
    InitReport,
    LogEntry,
    PushReport,
    Report,
    ShowReport,
    StatusReport,
    VerifyReport,
)

PUSHED = PushReport(
    store="/store",
    dataset="some-set",
    revision="1",
    manifest="a" * 40,
    data="b" * 40,
    parent=None,
    author="Some One <one@example.org>",
    author_source="option",
    is_new=True,
    store_created=False,
    files=3,
    folders=1,
    bytes=12_345,
    files_read=2,
    objects_new=1,
    bytes_new=12,
    objects_shared=3,
    bytes_shared=1_234_567,
    healed=0,
    left_out={},
)
CHECKED_OUT = CheckoutReport(
    store="/store",
    dataset="some-set",
    revision="1",
    manifest="a" * 40,
    folder="/dir",
    written=3,
    bytes_written=12_345,
    unchanged=0,
    removed=0,
    permissions=0,
    copied=3,
    linked=0,
    cloned=0,
    kept=(),
    edited=(),
    replaced=(),
)
STATUS = StatusReport(
    folder="/dir",
    store="/store",
    dataset="some-set",
    revision="1",
    manifest="a" * 40,
    selection=(),
    changes=(),
    totals={},
    files_read=0,
    left_out={},
)
SHOWN = ShowReport(
    store="/store",
    dataset="some-set",
    revision="1",
    manifest="a" * 40,
    data="b" * 40,
    info={
        "author": {"name": "Some One", "email": "one@example.org"},
        "created": "2026-01-02T03:04:05.678Z",
        "message": "first\n\nsecond\x1b",
        "files": 3,
        "folders": 1,
        "bytes": 12_345,
        "metadata": {"n": [1, 2], "ü": "\u202e"},
        "parent": {"dataset": "some-set", "revision": "0", "manifest": "c" * 40},
        "dependencies": [
            {"dataset": "other", "revision": "7"},
            {"dataset": "third", "revision": "8"},
        ],
    },
    shared_files=2,
    shared_bytes=300,
)


def data(report: Report) -> list[str]:
    return list(text.read(report)[0])


def remarks(report: Report) -> str:
    return "\n".join(text.read(report)[1])


def test_init_says_whether_the_store_is_new() -> None:
    assert remarks(InitReport("/store", "x", created=True)) == "made the store /store"
    assert remarks(InitReport("/store", "x", created=False)) == "this is a store already: /store"


def test_push_says_what_was_published_stored_and_shared() -> None:
    said = remarks(PUSHED)
    assert "pushed some-set@1 to /store" in said
    assert "3 files, 1 folder, 12 kB" in said
    assert "new       1 object, 12 bytes" in said
    assert "shared    3 objects, 1.2 MB" in said
    assert "login" not in said
    assert "made the store" not in said
    assert data(PUSHED) == []


def test_push_says_what_is_worth_a_word() -> None:
    said = remarks(
        replace(
            PUSHED,
            store_created=True,
            author_source="login",
            left_out={".git": 1, "ignored": 2},
            healed=2,
            parent="some-set@0",
            warnings=("a folder of 100,001 entries",),
        )
    )
    assert said.startswith("made the store /store\n")
    assert "your login name" in said
    assert "left out  1 .git, 2 ignored" in said
    assert "healed    2 objects" in said
    assert "parent    some-set@0" in said
    assert said.endswith("a folder of 100,001 entries")


def test_a_push_that_changes_nothing_says_so() -> None:
    assert "some-set@1 is already there" in remarks(replace(PUSHED, is_new=False))


def test_a_dry_run_promises_instead_of_claiming() -> None:
    said = remarks(replace(PUSHED, dry_run=True, store_created=True))
    assert "would make the store" in said
    assert "would push some-set@1" in said
    assert "would check out" in remarks(replace(CHECKED_OUT, dry_run=True))


def test_checkout_says_what_stays_and_why() -> None:
    said = remarks(
        replace(
            CHECKED_OUT,
            linked=2,
            copied=1,
            removed=4,
            kept=tuple(f"extra {number}" for number in range(30)),
            edited=("mine\x1b",),
            replaced=("yours",),
        )
    )
    assert "written   3 files, 12 kB (2 hard-linked, 1 copied)" in said
    assert "removed   4 files" in said
    assert "extra 19" in said
    assert "extra 20" not in said
    assert "… and 10 more" in said
    assert r"mine\x1b" in said
    assert "1 file edited, and overwritten (--force):\n    yours" in said


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (Change("added", "a\nb", new_size=1), r"A a\nb"),
        (Change("removed", "a"), "D a"),
        (Change("modified", "a"), "M a"),
        (Change("renamed", "b", old_path="a"), "R a -> b"),
        (Change("mode", "a", old_mode="100644", new_mode="100755"), "X a (100644 -> 100755)"),
    ],
)
def test_a_change_is_a_line(change: Change, line: str) -> None:
    assert text.change(change) == line


def test_status_lists_changes_and_remarks_on_the_rest() -> None:
    assert remarks(STATUS).endswith("no changes")
    changed = replace(
        STATUS,
        selection=("sub", "*.csv"),
        changes=(Change("added", "a"), Change("removed", "b")),
        totals={"added": 1, "removed": 1, "bytes_added": 1000, "bytes_removed": 20},
    )
    assert data(changed) == ["A a", "D b"]
    assert "selected  sub, *.csv" in remarks(changed)
    assert remarks(changed).endswith("1 added, 1 removed (+1.0 kB -20 bytes)")


def test_diff_says_when_both_are_the_same() -> None:
    assert remarks(DiffReport("a@1", "a@2", (), {})) == "a@1 and a@2 are the same"
    changed = DiffReport("a@1", "a@2", (Change("mode", "x"),), {"mode": 1})
    assert remarks(changed) == "1 with another mode"


def test_verify_says_what_was_attested_instead_of_read() -> None:
    report = VerifyReport(
        store="s3://lab/store",
        revisions=2,
        objects=10,
        packs=1,
        bytes_read=2000,
        findings=(),
        files_read=3,
        files_attested=7,
        bytes_attested=5_000_000,
        requests=1234,
    )
    assert remarks(report).splitlines() == [
        "verified 2 revisions, 10 objects, 1 pack, 2.0 kB read",
        "  attested  7 files, 5.0 MB: by checksums that the store itself gives (--read reads them)",
        "  read      3 files",
        "  requests  1,234",
        "no damage",
    ]


def test_verify_groups_its_findings_by_kind() -> None:
    report = VerifyReport(
        store="/store",
        revisions=2,
        objects=10,
        packs=1,
        bytes_read=0,
        findings=(
            Finding("missing", "objects/ab", "not there", paths=("a@1:x",), paths_total=3),
            Finding("unknown file", "odd\x1b", "of no use", is_damage=False),
            Finding("missing", "objects/cd", "not there", revisions=("a@1", "a@2")),
        ),
        recorded=2,
    )
    assert data(report) == [
        "missing (2)",
        "  objects/ab: not there",
        "    a@1:x",
        "    … and 2 more",
        "  objects/cd: not there",
        "    of a@1, a@2",
        "unknown file (1, no damage)",
        r"  odd\x1b: of no use",
    ]
    assert "verified 2 revisions, 10 objects, 1 pack" in remarks(report)
    assert "DAMAGE: 2 findings in /store\n2 damaged places recorded" in remarks(report)
    assert remarks(replace(report, findings=())).endswith("no damage")


def test_show_tells_all_that_revision_json_says() -> None:
    said = "\n".join(data(SHOWN))
    assert said.startswith("some-set@1\n")
    assert "created   2026-01-02 03:04:05 UTC" in said
    assert "author    Some One <one@example.org>" in said
    assert f"parent    some-set@0 ({'c' * 40})" in said
    assert "shared    2 files, 300 bytes" in said
    assert "needs     other@7\n            third@8" in said
    assert 'metadata  {\n              "n": [' in said
    assert said.endswith("message   first\n\n            second\\x1b")
    assert "\u202e" not in said


def test_show_reads_even_a_bare_revision() -> None:
    said = data(replace(SHOWN, info={}, shared_files=None, shared_bytes=None))
    assert "  parent    none" in said
    assert not any("shared" in line or "message" in line for line in said)


def entry(path: str, content: bytes = b"", mode: str = "100644", files: int | None = None) -> Entry:
    return Entry(
        path, mode, len(content), sha1(content).hexdigest(), sha256(content).hexdigest(), files
    )


def test_a_listing_is_a_path_a_line_and_folders_end_in_a_slash() -> None:
    entries = [entry("a\nb"), entry("sub", mode="40000", files=2)]
    assert list(listings.paths(entries)) == [r"a\nb", "sub/"]
    assert list(listings.raw_paths(entries)) == ["a\nb", "sub/"]


def test_a_long_listing_has_modes_sizes_and_ids() -> None:
    lines = list(listings.long([entry("a", b"x" * 1000), entry("sub", b"12", "40000", files=7)]))
    assert lines == [
        f"100644  1000  -  {sha1(b'x' * 1000).hexdigest()}  a",
        f" 40000     2  7  {sha1(b'12').hexdigest()}  sub/",
    ]


def test_sha256sum_reads_the_sums_of_every_name(tmp_path: Path) -> None:
    names = ["plain", "with space", " lead", "new\nline", "back\\slash", "back\\nslash", "ü", "*x"]
    for name in names:
        (tmp_path / name).write_text(name)
    sums = "\n".join(listings.sums(entry(name, name.encode()) for name in names)) + "\n"
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", "-"], input=sums.encode(), cwd=tmp_path
    )
    assert done.returncode == 0


def test_sums_are_of_regular_files_only() -> None:
    entries = [entry("a", mode="100755"), entry("b", mode="120000"), entry("c", mode="40000")]
    assert [kept.path for kept in listings.regular(entries)] == ["a"]


def test_a_log_tells_what_changed_in_numbers() -> None:
    first = LogEntry(
        "some-set", "1", "a" * 40, "2026-01-02T03:04:05.678Z", "Some One", "", None, 3, 12_345
    )
    second = replace(
        first, revision="2", message="more\nof it", parent="some-set@1", changes={"added": 2}
    )
    assert list(listings.log([second, first])) == [
        "some-set@2  2026-01-02 03:04:05 UTC  Some One",
        "    3 files, 12 kB; against some-set@1: 2 added",
        "    more",
        "    of it",
        "",
        "some-set@1  2026-01-02 03:04:05 UTC  Some One",
        "    3 files, 12 kB",
        "",
    ]
