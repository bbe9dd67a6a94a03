"""What a worktree remembers in `.dsa/`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from treetools import make, snapshot

import dsa
from dsa.errors import ConflictError, DamageError
from dsa.worktree.state import Worktree, base_table, base_tables
from dsa.worktree.workplace import working_in


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    store = dsa.open(tmp_path / "store", create=True)
    for revision in "12":
        store.push("some/set", revision, make(tmp_path / revision, {"d/f": revision.encode()}))
        store.checkout("some/set", tmp_path / "w", only=["d"])
    return tmp_path / "w"


def test_a_worktree_is_found_from_inside(tree: Path, tmp_path: Path) -> None:
    for folder in (tree, tree / "d", tree / "d" / ".." / "d"):
        found = Worktree.around(folder)
        assert found is not None
        assert (found.root, str(found)) == (tree, "some/set@2")
        assert found.selection.selectors == ("d",)
    assert Worktree.around(tmp_path) is None
    assert Worktree.at(tree / "d") is None
    assert dsa.store.worktree_store(tree) == str(tmp_path / "store")


def test_saved_and_read_again_it_is_the_same(tree: Path) -> None:
    found = Worktree.at(tree)
    assert found is not None
    found.save()
    assert Worktree.at(tree) == found
    assert [path.name for path in (tree / ".dsa").iterdir() if "worktree" in path.name] == [
        "worktree.json"
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"manifest": "x"},
        {"manifest": None},
        {"data": 5},
        {"selection": None},
        {"selection": ["re:("]},
        {"sha256": "0"},
    ],
    ids=str,
)
def test_a_state_that_is_none_is_damage(tree: Path, change: dict[str, object]) -> None:
    path = tree / ".dsa" / "worktree.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DamageError, match=r"worktree\.json"):
        Worktree.at(tree)
    for text in ("", "[]", "{", "null", '{"format": 1}'):
        path.write_text(text)
        with pytest.raises(DamageError, match=r"worktree\.json"):
            Worktree.at(tree)


def test_only_the_listing_of_what_is_checked_out_is_kept(tree: Path) -> None:
    found = Worktree.at(tree)
    assert found is not None
    assert [path.stem for path in (tree / ".dsa" / "base").iterdir()] == [str(found.manifest)]
    table = base_table(tree, found.manifest)
    assert table is not None
    assert len(table) == 2


def test_a_listing_that_cannot_be_read_is_made_anew(tree: Path, tmp_path: Path) -> None:
    (base,) = (tree / ".dsa" / "base").iterdir()
    base.write_bytes(b"PAR1nothingPAR1")
    assert list(base_tables(tree)) == []
    with pytest.raises(dsa.errors.DsaError, match="lost") as caught:
        dsa.status(tree)
    assert "dsa checkout some/set@2" in str(caught.value.hint)
    dsa.open(tmp_path / "store").checkout("some/set@2", tree)
    assert dsa.status(tree).is_clean


def test_a_folder_that_was_made_for_nothing_goes_again(tmp_path: Path) -> None:
    place = tmp_path / "new" / "deep"
    with working_in(place) as temporary:
        assert temporary.is_dir()
    assert not (tmp_path / "new").exists()
    make(tmp_path / "mine", {"f": b""})
    before = snapshot(tmp_path / "mine")
    with working_in(tmp_path / "mine"):
        pass
    assert snapshot(tmp_path / "mine") == before


def test_what_a_killed_checkout_left_is_cleared(tree: Path) -> None:
    left = make(tree / ".dsa" / "tmp", {"half": b"h", "deep/x": b""})
    with working_in(tree) as temporary:
        assert temporary == left
        assert os.listdir(temporary) == []
        with pytest.raises(ConflictError), working_in(tree):
            pass
    assert not left.exists()
    assert (tree / ".dsa" / "worktree.json").exists()
