"""The older program's file list: its bytes, its oddities, and what files have against it."""

from __future__ import annotations

import csv
import io
import re
from hashlib import sha1, sha256

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dsa.worktree.djarchive import (
    MANIFEST_NAME,
    Comparison,
    Difference,
    Entry,
    Found,
    ListError,
    compare,
    parse,
    render,
)

HELLO = sha256(b"hello").hexdigest()
EMPTY = sha256(b"").hexdigest()
HELLO_1 = sha1(b"hello").hexdigest()
EMPTY_1 = sha1(b"").hexdigest()

# As the old program wrote it.
OLD = f'"5","{HELLO}","a.txt"\n"0","{EMPTY}","sub/b.bin"\n'.encode()


def test_an_old_list_reads_and_is_written_byte_for_byte() -> None:
    entries = parse(OLD)
    assert entries == [Entry("a.txt", 5, HELLO), Entry("sub/b.bin", 0, EMPTY)]
    assert render(reversed(entries)) == OLD


def test_the_length_of_a_digest_says_which_it_is() -> None:
    entries = parse(f'"5","{HELLO_1}","a"\n"5","{HELLO}","b"\n'.encode())
    assert [entry.algorithm for entry in entries] == ["sha1", "sha256"]


@pytest.mark.parametrize(
    ("line", "path"),
    [
        (f'"5","{HELLO}","a,b.txt"', "a,b.txt"),
        (f'"5","{HELLO}","q"u.txt"', 'q"u.txt'),  # raw, as the old program left it
        (f'"5","{HELLO}","q"u"o"te"', 'q"u"o"te'),
        (f'"5","{HELLO}","a""', 'a"'),
        (f'"5","{HELLO}","""', '"'),
        (f'"5","{HELLO}","a","b"', 'a","b'),
        (f'"5","{HELLO}","q""u.txt"', 'q"u.txt'),  # RFC 4180
        (f'"5","{HELLO}","a\nb"', "a\nb"),
        (f'"5","{HELLO}","a\r\n\r\nb"', "a\r\n\r\nb"),
        (f'"5","{HELLO}","\n"', "\n"),
        (f'"5","{HELLO}","a""\nb"', 'a"\nb'),
        (f'5,{HELLO},"a\n""b"', 'a\n"b'),
        (f"5,{HELLO},a.txt", "a.txt"),
        (f'5,{HELLO},"a,b"', "a,b"),
        (f'5,{HELLO},"a"', "a"),
        (f'"5","{HELLO}",a b', "a b"),
        (f'"05","{HELLO}"," é漢 "', " é漢 "),
        (f'"5","{HELLO}","x\\y\t"', "x\\y\t"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
@pytest.mark.parametrize("after", ["", f'"0","{EMPTY}","next"'])
def test_a_line_is_read(line: str, path: str, end: str, after: str) -> None:
    if after and not end:
        end = "\n"
    entries = parse((line + end + after).encode())
    assert entries == [Entry(path, 5, HELLO)] + ([Entry("next", 0, EMPTY)] if after else [])


def test_empty_lines_and_a_byte_order_mark_are_passed_over() -> None:
    assert parse(b"\xef\xbb\xbf" + OLD.replace(b"\n", b"\r\n\r\n\n")) == parse(OLD)
    assert parse(b"") == []


def test_all_bad_lines_are_named_at_once() -> None:
    lines = [
        b"size,sha,path",
        b'"5","%s","good"' % HELLO.encode(),
        b'"5","abcd","short"',
        b'"-5","%s","negative"' % HELLO.encode(),
        b'"99999999999999999999","%s","huge"' % HELLO.encode(),
        b'"5","%s","/etc/passwd"' % HELLO.encode(),
        b'"5","%s","a/../../b"' % HELLO.encode(),
        b'"5","%s","good"' % HELLO.encode(),
        b'"5","%s",""' % HELLO.encode(),
        b'"5","%s","./a"' % HELLO.encode(),
        b'"5","%s","\xff\x1b"' % HELLO.encode(),
        b'"5","%s"' % HELLO.encode(),
        b"5,%s,a,b" % HELLO.encode(),
        b'"5","%s","a\x00b"' % HELLO.encode(),
        b'"5","%s","%s"' % (HELLO.upper().encode(), b"case"),
        b'"5","%s","never closed' % HELLO.encode(),
        b'"5","%s","also good"' % HELLO.encode(),
    ]
    with pytest.raises(ListError) as caught:
        parse(b"\n".join(lines))
    problems = caught.value.problems
    found = [int(re.findall(r"^line (\d+): ", problem)[0]) for problem in problems]
    assert found == [1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]
    assert "'good' stands in line 2 already" in problems[6]
    assert all(problem.isprintable() for problem in problems)
    assert str(caught.value).splitlines() == list(problems)


def test_what_is_never_closed_hides_no_other_bad_line() -> None:
    open_, bad = f'"5","{HELLO}","open', f'"5","{HELLO}","/bad"'
    with pytest.raises(ListError) as caught:
        parse(f"{open_}\n{bad}\n{open_}\n{bad}\n".encode())
    assert len(caught.value.problems) == 4


parts = st.text(
    st.sampled_from('a",\n\r1.\\ é')
    | st.characters(exclude_categories=["Cs"], exclude_characters="/\0"),
    min_size=1,
    max_size=8,
).filter(lambda part: part not in (".", ".."))
lines = st.sampled_from([f'"1","{HELLO}","x', f'\n"1","{HELLO}","x', f"\n1,{HELLO},x", '"\n', '""'])
paths = st.lists(parts | lines, min_size=1, max_size=3).map("/".join)
entries = st.builds(
    Entry, paths, st.integers(0, 2**63 - 1), st.sampled_from([HELLO, EMPTY, HELLO_1, EMPTY_1])
)
lists = st.lists(entries, unique_by=lambda entry: entry.path)


@given(lists)
@example([Entry('a"', 1, HELLO), Entry("b", 1, HELLO)])
@example([Entry(f'a"\n"1","{HELLO}","b', 1, HELLO)])
@example([Entry('a"\n', 1, HELLO), Entry('\n"', 1, HELLO), Entry("\r", 1, HELLO)])
def test_a_list_reads_back_sorted(entries: list[Entry]) -> None:
    data = render(entries)
    assert parse(data) == sorted(entries, key=lambda entry: entry.path.encode())
    assert render(parse(data)) == data


@given(lists)
def test_a_list_is_what_rfc_4180_says(entries: list[Entry]) -> None:
    text = io.StringIO(render(entries).decode(), newline="")
    assert sorted(csv.reader(text, strict=True)) == sorted(
        [str(entry.size), entry.digest, entry.path] for entry in entries
    )


@given(lists)
def test_all_paths_but_quoted_ones_are_written_as_the_old_program_did(
    entries: list[Entry],
) -> None:
    plain = [entry for entry in entries if '"' not in entry.path]
    expected = b"".join(
        f'"{entry.size}","{entry.digest}","{entry.path}"\n'.encode()
        for entry in sorted(plain, key=lambda entry: entry.path.encode())
    )
    assert render(plain) == expected


@given(st.binary(max_size=80) | st.text('15af",\n\r/.é', max_size=80).map(str.encode))
def test_any_bytes_end_in_entries_or_in_a_list_error(data: bytes) -> None:
    try:
        entries = parse(data)
    except ListError:
        return
    assert parse(render(entries)) == sorted(entries, key=lambda entry: entry.path.encode())


def test_open_quotes_do_not_cost_the_square_of_the_lines() -> None:
    with pytest.raises(ListError) as caught:
        parse(b'x"y\n\n\n' * 50_000 + b'"1","ab","z\n' * 50_000)
    assert len(caught.value.problems) >= 50_000


def found(path: str, data: bytes) -> Found:
    return Found(path, len(data), sha1(data).hexdigest(), sha256(data).hexdigest())


def test_a_comparison_names_all_that_differs() -> None:
    listed = [
        Entry("gone", 1, HELLO),
        Entry("same", 5, HELLO),
        Entry("same-1", 5, HELLO_1),
        Entry("size", 4, HELLO),
        Entry("bytes", 0, HELLO),
        Entry(".hidden-but-listed", 5, HELLO),
        Entry("also-gone/é\n", 1, HELLO),
    ]
    there = [
        found("same", b"hello"),
        found("same-1", b"hello"),
        found("size", b"hello"),
        found("bytes", b""),
        found(".hidden-but-listed", b"hello"),
        found("z-new", b""),
        found("new\x1b", b""),
        found(".git-like/x", b""),
        found("a/.b/c", b""),
        found(MANIFEST_NAME, b"listed"),
        found(f"sub/{MANIFEST_NAME}", b"data"),
    ]
    comparison = compare(listed, there)
    assert comparison == Comparison(
        missing=("also-gone/é\n", "gone"),
        different=(Difference(listed[4], 0, EMPTY), Difference(listed[3], 5, HELLO)),
        untracked=("new\x1b", f"sub/{MANIFEST_NAME}", "z-new"),
        hidden_untracked=(".git-like/x", "a/.b/c"),
    )
    assert not comparison.agrees
    assert comparison.problems() == [
        r"missing: also-gone/é\n",
        "missing: gone",
        f"different: bytes: sha256 {HELLO} listed, {EMPTY} found",
        "different: size: 4 bytes listed, 5 found",
        r"untracked: new\x1b",
        f"untracked: sub/{MANIFEST_NAME}",
        "untracked: z-new",
    ]


def test_hidden_files_alone_are_no_disagreement() -> None:
    comparison = compare([Entry("a", 5, HELLO)], [found("a", b"hello"), found(".b", b"")])
    assert comparison.agrees
    assert comparison.problems() == []
    assert comparison.hidden_untracked == (".b",)


@given(st.dictionaries(paths, st.binary(max_size=3)), st.dictionaries(paths, st.binary(max_size=3)))
def test_every_file_is_accounted_for_once(
    listed: dict[str, bytes], there: dict[str, bytes]
) -> None:
    comparison = compare(
        [Entry(path, len(data), sha256(data).hexdigest()) for path, data in listed.items()],
        [found(path, data) for path, data in there.items()],
    )
    assert set(comparison.missing) == listed.keys() - there.keys()
    assert {*comparison.untracked, *comparison.hidden_untracked} == there.keys() - listed.keys()
    assert {difference.listed.path for difference in comparison.different} == {
        path for path in listed.keys() & there.keys() if listed[path] != there[path]
    }
