"""The author: as given, as git knows, as the system knows, in that order."""

from __future__ import annotations

import logging
import platform
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsa.errors import UsageError
from dsa.worktree import identity
from dsa.worktree.identity import Author, find_author, git_author, login_author, parse_author


@pytest.mark.parametrize(
    ("text", "author"),
    [
        ("Ada Lovelace <ada@example.org>", Author("Ada Lovelace", "ada@example.org")),
        ("  Zoë  < z@x >  ", Author("Zoë", "z@x")),
        ("lab<lab>", Author("lab", "lab")),
    ],
)
def test_an_author_is_read(text: str, author: Author) -> None:
    assert parse_author(text) == author


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Ada",
        "<ada@example.org>",
        "Ada <>",
        "Ada < >",
        "Ada <a@b",
        "Ada a@b>",
        "A <a b>",
        "A <a> <b>",
        "A\nB <a>",
        "A <a\x1b>",
        "A <<a>>",
        "A <a> x",
        "A\udcff <a>",
    ],
)
def test_what_is_no_author_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_author(text)
    assert str(caught.value).isprintable()


words = st.text(
    st.characters(exclude_categories=["C", "Z"], exclude_characters="<>"), min_size=1, max_size=12
)


@given(st.lists(words, min_size=1).map(" ".join), words)
def test_an_author_prints_what_reads_back(name: str, email: str) -> None:
    author = Author(name, email)
    assert parse_author(str(author)) == author


def configure(home: Path, text: str) -> None:
    (home / ".gitconfig").write_text(text)


def test_what_is_given_comes_first(home: Path) -> None:
    configure(home, "[user]\n name = Git\n email = git@x\n")
    assert find_author("Me <me@x>") == (Author("Me", "me@x"), "option")
    with pytest.raises(UsageError):
        find_author("")


def test_git_comes_second(home: Path) -> None:
    configure(home, '[user]\n name = "Ada  \\"A\\" L"\n email = ada@x ; by day\n')
    assert find_author() == (Author('Ada  "A" L', "ada@x"), "git")


def test_the_login_comes_last() -> None:
    assert git_author() is None
    assert find_author() == (login_author(), "login")


def test_what_git_leaves_open_the_login_fills(home: Path) -> None:
    configure(home, "[user]\n email = ada@x\n")
    assert git_author() == Author(login_author().name, "ada@x")
    configure(home, "[user]\n name = Ada\n email =\n")
    assert git_author() == Author("Ada", login_author().email)


def test_what_breaks_a_line_or_an_address_is_dropped(home: Path) -> None:
    configure(home, '[user]\n name = "A\\n<B>"\n email = <a@b>\n')
    assert git_author() == Author("AB", "a@b")


@pytest.mark.parametrize("text", ["[user\n name = A\n", "name = A\n", '[user]\n name = "A\n'])
def test_a_broken_configuration_of_git_is_passed_over(
    home: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    configure(home, text)
    with caplog.at_level(logging.WARNING, "dsa"):
        author, source = find_author()
    assert (author, source) == (login_author(), "login")
    assert "git's configuration cannot be read" in caplog.text


def test_a_configuration_that_is_a_folder_is_passed_over(home: Path) -> None:
    (home / ".gitconfig").mkdir()
    assert find_author() == (login_author(), "login")


def test_bytes_that_are_not_utf8_are_replaced(home: Path) -> None:
    (home / ".gitconfig").write_bytes(b"[user]\n name = J\xf6rg\n email = j@x\n")
    assert git_author() == Author("J\ufffdrg", "j@x")


def test_the_login_is_the_systems_not_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    before = login_author()
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "somebody-else")
    assert login_author() == before
    assert parse_author(str(before)) == before


def test_somebody_always_pushes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "_login_name", lambda: "")
    monkeypatch.setattr(platform, "node", lambda: "")
    assert login_author() == Author("unknown", "unknown@localhost")


def test_a_user_without_a_name_has_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getuid", lambda: 123456789)
    assert login_author().name == "uid123456789"
