"""Names: the grammar of what a person types, the order of revisions, and hostile entries."""

from __future__ import annotations

import itertools
import posixpath
import re
import string
import sys
import unicodedata

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dsa.cas.names import (
    BAD_NAME_REGEX,
    GIT_FOLDER_REGEX,
    Spec,
    check_dataset,
    check_entry_name,
    check_revision,
    folds_with,
    is_folder,
    is_git_folder,
    latest,
    leaves_tree,
    newest_first,
    parse_spec,
    printable,
)
from dsa.errors import UsageError

HEX_40 = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"

segments = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}[A-Za-z0-9_-]", fullmatch=True).filter(
    lambda s: not re.match(r"(con|prn|aux|nul|com\d|lpt\d)(\.|\Z)", s, re.IGNORECASE)
)
datasets = st.lists(segments, min_size=1, max_size=4).map("/".join)
revisions = st.one_of(
    segments,
    st.sampled_from(["1", "000", "1.0+local", "2024-01-15", HEX_40, HEX_40[:7], HEX_40[:39]]),
).filter(lambda text: text != "latest")


# --- what a person types -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "some-set",
        "Lab/2024/raw_data.v2",
        "0",
        "a" * 200,
        "console",
        "com10",
        "a-b._c",
        "latest",
    ],
)
def test_dataset_names_that_stand(name: str) -> None:
    assert check_dataset(name) == name


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("", "empty"),
        ("a" * 201, "more than 200"),
        ("/a", "empty part"),
        ("a/", "empty part"),
        ("a//b", "empty part"),
        ("-a", "begins with a letter or digit"),
        ("a/.b", "begins with a letter or digit"),
        ("..", "begins with a letter or digit"),
        ("a b", "may hold only"),
        ("a\n", "may hold only"),
        ("a+b", "may hold only"),
        ("a@1", "may hold only"),
        ("données", "may hold only"),
        ("٣", "may hold only"),
        ("a./b", "ends in '.'"),
        ("a/b.", "ends in '.'"),
        ("con", "Windows device"),
        ("a/NUL.txt", "Windows device"),
        ("Com1.tar.gz/b", "Windows device"),
    ],
)
def test_dataset_names_that_fall_name_their_rule(name: str, rule: str) -> None:
    with pytest.raises(UsageError, match=re.escape(rule)) as caught:
        check_dataset(name)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["000", "1.0+cu12", "v1", "a" * 100, "Latest", HEX_40[:39]])
def test_revision_names_that_stand(name: str) -> None:
    assert check_revision(name) == name


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("", "empty"),
        ("a" * 101, "more than 100"),
        ("a/b", "may hold only"),
        ("+1", "begins with a letter or digit"),
        ("1\x1b[31m", "may hold only"),
        ("1.", "ends in '.'"),
        ("aux.1", "Windows device"),
        ("latest", "means the newest"),
        (HEX_40, "40 hex digits"),
        (HEX_40.upper(), "40 hex digits"),
    ],
)
def test_revision_names_that_fall_name_their_rule(name: str, rule: str) -> None:
    with pytest.raises(UsageError, match=re.escape(rule)) as caught:
        check_revision(name)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("set", Spec(None, "set", None)),
        ("set@latest", Spec(None, "set", None)),
        ("a/b@000", Spec(None, "a/b", "000")),
        ("lab:a/b@1.0", Spec("lab", "a/b", "1.0")),
        ("lab:a", Spec("lab", "a", None)),
        (f"set@{HEX_40}", Spec(None, "set", HEX_40)),
        ("set@4b825dc", Spec(None, "set", "4b825dc")),
    ],
)
def test_a_spec_is_read(text: str, spec: Spec) -> None:
    assert parse_spec(text) == spec


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@1",
        "set@",
        "set@a@b",
        ":set",
        "lab:",
        "a:b:c",
        "s3://bucket/x:set",
        "set@1:2",
        "la b:s",
        f"set@{HEX_40.upper()}",
        "../x",
        "set@../x",
    ],
)
def test_what_is_no_spec_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_spec(text)


@given(st.none() | segments, datasets, st.none() | revisions)
def test_a_spec_prints_what_reads_back(
    remote: str | None, dataset: str, revision: str | None
) -> None:
    spec = Spec(remote, dataset, revision)
    assert parse_spec(str(spec)) == spec


@pytest.mark.parametrize("text", [".", "./a", "..", "../a", "/a", "~", "~me/a", ".a"])
def test_what_begins_like_a_path_is_a_folder(text: str) -> None:
    assert is_folder(text)


@pytest.mark.parametrize("text", ["", "a", "a/b", "a@1", "lab:a"])
def test_all_else_is_no_folder(text: str) -> None:
    assert not is_folder(text)


# --- the order of revisions ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "ordered",
    [
        ["10", "9", "1"],
        ["1.10", "1.9", "1.9rc2", "1.9rc1", "1.9b1", "1.9a1", "1.0"],
        ["002", "001", "000"],
        ["r10", "r9", "r1"],  # no PEP 440: natural
        ["2024-02-01", "2024-01-31", "2024-01-15"],
        ["1.0-final", "1.0", "0.9"],
        ["b", "a10", "a9", "A1"],
        ["v" + "9" * 80, "v10"],
        ["x2", "x02", "X2", "x1"],
    ],
)
def test_revisions_are_ordered_newest_first(ordered: list[str]) -> None:
    for shuffled in itertools.islice(itertools.permutations(ordered), 200):
        assert newest_first(shuffled) == ordered


@given(st.lists(revisions, unique=True), st.randoms())
def test_the_order_is_one_whatever_the_order_given(names: list[str], random: object) -> None:
    ordered = newest_first(names)
    assert sorted(ordered) == sorted(names)
    shuffled = list(names)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert newest_first(shuffled) == ordered


@pytest.mark.parametrize(
    ("names", "newest"),
    [
        ([], None),
        (["1.0", "2.0rc1"], "1.0"),
        (["1.0", "1.0.post1"], "1.0.post1"),
        (["1.0a1", "1.0b1"], "1.0b1"),
        (["x-1", "x-2rc1"], "x-1"),  # natural
        (["x-1", "x-2-b3"], "x-1"),
        (["web1", "run2"], "web1"),  # letters before a number are not yet a pre-release
        (["run-a1"], "run-a1"),
        (["x1rc1", "x2rc1"], "x2rc1"),
        (["x1", "x2rc1-final"], "x2rc1-final"),
    ],
)
def test_the_latest_is_no_pre_release_if_it_can_be_helped(
    names: list[str], newest: str | None
) -> None:
    assert latest(names) == newest


@pytest.mark.parametrize(
    ("name", "existing", "clash"),
    [
        ("A/b", ["a/c"], "a/c"),
        ("a/B", ["a/b"], "a/b"),
        ("A", ["a/c"], "a/c"),
        ("a/b/c", ["x", "a/B"], "a/B"),
        ("a/b", ["a/b"], None),
        ("a/b", ["a/c", "a", "a/b/c"], None),
        ("a/B", ["c/b", "x/a/b"], None),
        ("v1", ["V1"], "V1"),
        ("v1", [], None),
    ],
)
def test_names_that_differ_in_case_alone_clash(
    name: str, existing: list[str], clash: str | None
) -> None:
    assert folds_with(name, existing) == clash


@given(datasets, datasets)
def test_a_clash_is_one_for_both(one: str, other: str) -> None:
    assert (folds_with(one, [other]) is None) == (folds_with(other, [one]) is None)
    swapped = one.swapcase()
    assert folds_with(one, [swapped]) == (swapped if swapped != one else None)


# --- names inside a dataset ----------------------------------------------------------------------

# What a name must hold to be mistaken for `.dsa`, so that examples come near it.
tricky = st.lists(
    st.sampled_from(
        [
            *".dsa~1 :\\DSA",
            "ſ",
            "\u200c",
            "\u202e",
            "\ufeff",
            "\u00ad",
            "\U000e0001",
            "é",
            "\n",
            "2",
        ]
    )
    | st.sampled_from([".dsa", "dsa~1", "::$INDEX_ALLOCATION", ".DSA", "/", "\0"]),
    max_size=8,
).map("".join)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | tricky


def refused(name: str) -> bool:
    try:
        assert check_entry_name(name.encode()) == name
    except ValueError:
        return True
    return False


def matches(names: list[str], regex: str = BAD_NAME_REGEX) -> list[bool]:
    found = pc.match_substring_regex(pa.array(names, pa.string()), regex)
    return [bool(answer) for answer in found.to_pylist()]


GIT_FOLDERS = [
    ".git", ".GIT", ".Git", ".git.", ".git . ", "git~1", "GIT~1", ".git:x", ".git::$INDEX_ALLOCATION",
    ".git\\x", ".g\u200cit", "\ufeff.git", ".git\u200d",
]  # fmt: skip


@pytest.mark.parametrize("name", GIT_FOLDERS)
def test_every_spelling_of_git_is_known(name: str) -> None:
    assert is_git_folder(name)
    assert matches([name], GIT_FOLDER_REGEX) == [True]


@given(st.lists(names | st.tuples(st.sampled_from(GIT_FOLDERS), tricky).map("".join), max_size=20))
@example(
    ["git", "git~2", "git~10", ".gitignore", ".git-x", ".gitmodules", "x.git", " .git", "..git"]
)
def test_git_is_found_in_a_column_as_one_by_one(names: list[str]) -> None:
    assert matches(names, GIT_FOLDER_REGEX) == [is_git_folder(name) for name in names]


def test_names_that_only_begin_like_git_are_data() -> None:
    for name in (
        "git",
        "git~2",
        "git~10",
        ".gitignore",
        ".git-x",
        "x.git",
        " .git",
        "..git",
        ".g it",
    ):
        assert not is_git_folder(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a/b",
        "/",
        "a\0",
        ".dsa",
        ".DSA",
        ".dSa",
        ".dsa.",
        ".dsa ",
        ".dsa . .",
        "DSA~1",
        "dsa~1",
        "dsa~1. ",
        ".dsa::$INDEX_ALLOCATION",
        ".dsa:stream",
        ".dsa .:x",
        "DSA~1:x\ny",
        ".dsa\\x",
        ".d\u200csa",
        "\ufeff.dsa",
        ".dsa\u206f",
        ".dſa",
        ".d\u00adsa",
    ],
)
def test_hostile_names_are_refused(name: str) -> None:
    assert refused(name)
    assert matches([name]) == [True]


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "...",
        ".dsaignore",
        "dsa",
        "x.dsa",
        ".dsa2",
        ".dsa~1",
        "dsa~2",
        "dsa~10",
        " .dsa",
        ".dsa\n",
        ".d.sa",
        "a.dsa:",
        'q"u,o\nte',
        "é",
        "a\\b",
        "con",
        "a\u200cb",
        "x" * 255,
    ],
)
def test_ordinary_names_pass(name: str) -> None:
    assert not refused(name)
    assert matches([name]) == [False]


@given(st.lists(names, max_size=20))
@example([".dsa\n", ".dsa \n", "\n", ".\n", "\u200c", "\u200c.", "..\u200c"])
def test_the_regex_refuses_what_the_check_refuses(names: list[str]) -> None:
    assert matches(names) == [refused(name) for name in names]


@pytest.mark.parametrize(("before", "after"), [(".d", "sa"), (".d", "a"), (".dsa", "")])
def test_both_agree_on_every_character(before: str, after: str) -> None:
    characters = (chr(c) for c in range(sys.maxunicode + 1) if not 0xD800 <= c < 0xE000)
    names = [f"{before}{c}{after}" for c in characters]
    verdicts = list(zip(names, matches(names), strict=True))
    assert all(refused(name) for name, bad in verdicts if bad)
    # Far more are good: all that could fold into ASCII, and a sample of the rest, cost no seconds.
    good = [name for name, bad in verdicts if not bad]
    near = [name for name in good if len(name.casefold()) != len(name) or name.casefold().isascii()]
    assert not any(refused(name) for name in near + good[::40])


def test_what_git_takes_for_ignorable_on_hfs_is_ignored() -> None:
    ranges = [(0x200C, 0x200F), (0x202A, 0x202E), (0x206A, 0x206F), (0xFEFF, 0xFEFF)]
    for low, high in ranges:
        for code in range(low, high + 1):
            assert refused(f".d{chr(code)}sa")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (b"\xff", "UTF-8"),
        (b"\xed\xa0\x80", "UTF-8"),  # a surrogate, encoded
        (b"\xc0\xaf", "UTF-8"),  # a slash, longer than need be
        (b"x" * 256, "256 bytes"),
        ("é".encode() * 128, "256 bytes"),
        (b"\x1b]/", "slash"),
    ],
)
def test_bytes_that_are_no_name_are_refused_with_the_reason(name: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        check_entry_name(name)
    assert str(caught.value).isprintable()


# --- links ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("folder", "target"),
    [
        ("", ".."),
        ("", "/etc/passwd"),
        ("", "/"),
        ("a", "../.."),
        ("a/b", "../../../x"),
        ("a", "b/../../../a"),
        ("", ""),
        ("", "./../x"),
        ("", "a\0b"),
    ],
)
def test_links_that_leave_the_tree(folder: str, target: str) -> None:
    assert leaves_tree(folder, target)


@pytest.mark.parametrize(
    ("folder", "target"),
    [
        ("", "a"),
        ("", "."),
        ("a", ".."),
        ("a/b", "../../x"),
        ("", "a/.."),
        ("a", "..b"),
        ("a", "b//"),
    ],
)
def test_links_that_stay(folder: str, target: str) -> None:
    assert not leaves_tree(folder, target)


@given(
    st.lists(st.sampled_from(["a", "b"]), max_size=4),
    st.lists(st.sampled_from(["..", ".", "", "x", "..."]), min_size=1, max_size=8),
)
def test_a_link_leaves_where_some_step_of_it_is_above_the_root(
    folders: list[str], parts: list[str]
) -> None:
    target = "/".join(parts)
    root = "/".join("rrrrrrrrr")  # so deep that no target gets out of what normpath knows
    steps = [
        posixpath.normpath("/".join([root, *folders, *parts[:n]])) for n in range(len(parts) + 1)
    ]
    outside = any(step != root and not step.startswith(f"{root}/") for step in steps)
    assert leaves_tree("/".join(folders), target) == (
        outside or not target or target.startswith("/")
    )


# --- showing names -------------------------------------------------------------------------------


def read_back(shown: str) -> str:
    """Undo `printable`, to show that nothing is lost."""
    short = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}

    def meant(match: re.Match[str]) -> str:
        return short.get(match[1]) or chr(int(match[1][1:], 16))

    return re.sub(r"\\(\\|n|r|t|x[0-9a-f]{2}|u[0-9a-f]{4})", meant, shown)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a file, with é and 漢字.txt", "a file, with é and 漢字.txt"),
        ("a\nb", r"a\nb"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\x7f\x85\x9b", r"\x7f\x85\x9b"),
        ("a\u202etxt.exe", r"a\u202etxt.exe"),
        ("\udcff", r"\udcff"),
        ("a\\b", r"a\b"),
        ("a\\", "a\\"),
        (r"a\n", r"a\\n"),
        (r"\x1b", r"\\x1b"),
        ("\\\x1b", r"\\\x1b"),
        ("\u2028\u2069", r"\u2028\u2069"),
        ("👩\u200d🔬", "👩\u200d🔬"),
    ],
)
def test_names_are_shown(name: str, shown: str) -> None:
    assert printable(name) == shown


nasty = st.text(
    st.sampled_from([*"\\nrtxu01bf\n\r\t\x1b\x85 é", "\udc80", "\u202e", "\u2066"])
    | st.characters(exclude_categories=[]),
    max_size=30,
)


@given(nasty)
def test_what_is_shown_is_harmless_and_tells_the_name(name: str) -> None:
    shown = printable(name)
    assert not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in shown)
    assert not any(unicodedata.bidirectional(c) in BIDI_CONTROLS for c in shown)
    assert read_back(shown) == name


BIDI_CONTROLS = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})


@given(st.text(string.ascii_letters + string.digits + " -_.,'\"()[]é漢"))
def test_ordinary_names_are_shown_as_they_are(name: str) -> None:
    assert printable(name) == name
