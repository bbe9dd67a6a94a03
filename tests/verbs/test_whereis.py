"""Whereis: every store is asked, a sick one stops nobody, and what is known says since when."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import dsa
from dsa.cas import layout
from dsa.cas.backend import FileInfo
from dsa.cas.objectstore import ObjectStore
from dsa.config import evidence, places
from dsa.errors import AccessError, NotFoundError, UsageError
from dsa.remotes.local import LocalBackend
from dsa.remotes.memory import MemoryBackend
from dsa.reports import Whereabouts, WhereisReport
from dsa.verbs.whereis import Site, whereis


class Down(MemoryBackend):
    """A store that nobody answers for."""

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        raise AccessError(f"no connection to {self.url}/{key}", is_outage=True)

    def list(self, prefix: str) -> Iterator[FileInfo]:
        raise AccessError(f"no connection to {self.url}/{prefix}", is_outage=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "small").write_text("small\n")
    (folder / "large").write_bytes(bytes(300_000))
    return folder


@pytest.fixture
def root(folder: Path, tmp_path: Path) -> Path:
    """Return a store with ds@1 and ds@2."""
    store = dsa.open(tmp_path / "store", create=True)
    store.push("ds", "1", folder)
    (folder / "more").write_text("more\n")
    store.push("ds", "2", folder)
    return tmp_path / "store"


def copied(root: Path, *leave_out: str) -> MemoryBackend:
    """Return a store with the same files, but for keys that begin with one of these."""
    backend = MemoryBackend()
    for info in LocalBackend(root).list(""):
        if not info.key.startswith(leave_out or ("-",)):
            backend.files[info.key] = (LocalBackend(root).read(info.key), info.modified)
    return backend


def asked(text: str, **backends: MemoryBackend) -> WhereisReport:
    def site(name: str, backend: MemoryBackend) -> Site:
        return Site(name, backend.url, lambda: ObjectStore(backend))

    return whereis([site(name, backend) for name, backend in backends.items()], text)


def place(report: WhereisReport, name: str) -> Whereabouts:
    (found,) = [place for place in report.places if place.remote == name]
    return found


def test_every_store_is_told_in_order(root: Path) -> None:
    report = asked(
        "ds@2", one=copied(root), none=MemoryBackend(), old=copied(root, layout.ref_key("ds", "2"))
    )
    assert [(place.remote, place.holds) for place in report.places] == [
        ("one", True),
        ("none", False),
        ("old", False),
    ]
    assert "nothing is there" in place(report, "none").detail
    assert "ds" in place(report, "old").detail
    assert list(place(report, "one").evidence) == ["listed"]
    assert report.is_somewhere


def test_a_store_that_is_down_is_named_and_stops_nobody(root: Path) -> None:
    report = asked("ds@1", down=Down(), up=copied(root))
    assert place(report, "down").holds is None
    assert "no connection" in place(report, "down").detail
    assert place(report, "up").holds is True


def test_an_error_that_nobody_foresaw_stops_nobody_either(root: Path) -> None:
    class Odd(MemoryBackend):
        def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
            raise RuntimeError(f"odd at {key}")

    report = asked("ds@1", odd=Odd(), up=copied(root))
    assert place(report, "odd").holds is None
    assert "unexpected RuntimeError: odd at " in place(report, "odd").detail
    assert place(report, "up").holds is True


@pytest.mark.parametrize("what", ["packs", "locations"])
def test_a_store_that_lacks_objects_does_not_hold_it(root: Path, what: str) -> None:
    report = asked("ds@1", part=copied(root, "locations/"), all=copied(root))
    assert place(report, "part").holds is False
    assert "lacks" in place(report, "part").detail
    assert place(report, "all").holds is True


def test_damage_on_record_counts_as_lacking(root: Path) -> None:
    store = dsa.open(root)
    (pack, *_) = sorted((root / "packs").iterdir())
    pack.chmod(0o600)
    data = bytearray(pack.read_bytes())
    data[75] ^= 1
    pack.write_bytes(data)
    assert store.verify(data=True).recorded > 0
    backend = LocalBackend(root)
    report = whereis([Site("", backend.url, lambda: ObjectStore(backend))], "ds@1")
    held = {
        rev: whereis([Site("", backend.url, lambda: ObjectStore(backend))], f"ds@{rev}")
        for rev in "12"
    }
    assert not all(report.is_somewhere for report in held.values())
    assert report.places[0].evidence == {} or report.is_somewhere


def test_without_a_revision_the_newest_of_all_stores_is_meant(root: Path) -> None:
    old = copied(root, layout.ref_key("ds", "2"))
    report = asked("ds", old=old, new=copied(root))
    assert report.revision == "2"
    assert place(report, "old").holds is False
    assert place(report, "new").holds is True


def test_a_manifest_names_a_revision(root: Path) -> None:
    manifest = (root / layout.ref_key("ds", "1")).read_text().strip()
    report = asked(f"ds@{manifest[:9]}", one=copied(root), none=MemoryBackend())
    assert report.revision == "1"
    assert place(report, "one").manifest == manifest


def test_a_name_that_nobody_knows_is_nowhere(root: Path) -> None:
    report = asked("other@9", one=copied(root), none=MemoryBackend())
    assert not report.is_somewhere
    assert report.is_answered
    assert [place.holds for place in report.places] == [False, False]
    assert not asked("ds@1", down=Down()).is_answered


def test_what_is_no_name_is_refused() -> None:
    with pytest.raises(UsageError):
        asked("ds@@1", one=MemoryBackend())


def test_a_withdrawn_revision_is_held_nowhere(root: Path) -> None:
    backend = copied(root)
    key = layout.ref_key("ds", "1")
    backend.files[key] = (b"withdrawn " + backend.files[key][0], 1.0)
    report = asked("ds@1", one=backend)
    assert place(report, "one").holds is False


def test_the_same_name_with_other_content_is_told(root: Path, folder: Path, tmp_path: Path) -> None:
    from dsa.cli import text

    (folder / "more").write_text("something else\n")
    dsa.open(tmp_path / "other", create=True).push("ds", "2", folder)
    first, second = copied(root), copied(tmp_path / "other")
    report = asked("ds@2", one=first, other=second)
    assert len({place.manifest for place in report.places}) == 2
    assert [place.holds for place in report.places] == [True, False]  # the first says what is meant
    assert place(report, "other").detail == "another revision of this name"
    assert place(report, "other").evidence == {}
    data, remarks = map(list, text.read(report))
    assert "ds@2 is complete in 1 of 2 stores" in remarks
    assert any("different revisions" in line for line in remarks)
    assert any(line.startswith("no ") and "another revision" in line for line in data)

    turned = asked("ds@2", other=second, one=first)
    assert (place(turned, "other").holds, place(turned, "one").holds) == (True, False)
    typed = asked(f"ds@{place(turned, 'one').manifest}", other=second, one=first)
    assert (place(typed, "other").holds, place(typed, "one").holds) == (False, True)


def test_what_only_another_revision_is_held_of_is_nowhere(
    root: Path, folder: Path, tmp_path: Path
) -> None:
    (folder / "more").write_text("something else\n")
    dsa.open(tmp_path / "other", create=True).push("ds", "2", folder)
    damaged = copied(root, "locations/")
    report = asked("ds@2", one=damaged, other=copied(tmp_path / "other"))
    assert not report.is_somewhere
    assert "lacks" in place(report, "one").detail


def test_a_copy_of_a_store_has_no_evidence_of_the_original(root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    assert ObjectStore(LocalBackend(copy)).file.id == ObjectStore(LocalBackend(root)).file.id
    (pack, *_) = sorted((copy / "packs").iterdir())
    pack.chmod(0o600)
    data = bytearray(pack.read_bytes())
    data[75] ^= 1
    pack.write_bytes(data)

    def kinds(path: Path) -> list[str]:
        return list(dsa.open(path).whereis("ds@1").places[0].evidence)

    dsa.open(root).verify(data=True)
    assert kinds(copy) == ["listed"]
    assert not dsa.open(copy).verify(data=True, record=False).is_clean
    assert kinds(root) == ["read", "listed"]


def test_evidence_of_one_endpoint_is_none_of_another(root: Path) -> None:
    class Elsewhere(MemoryBackend):
        @property
        def place(self) -> str:
            return f"{self.url} of another server"

    store = ObjectStore(copied(root))
    other = Elsewhere()
    other.files = store.backend.files  # type: ignore[attr-defined]  # of the one above
    evidence.note(store, ["a-manifest"], "read")
    assert evidence.of(ObjectStore(other), "a-manifest") == {}


def test_one_file_that_is_missing_is_one_file(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "file").write_bytes(bytes(300_000))
    dsa.open(tmp_path / "small", create=True).push("ds", "1", tmp_path / "one")
    report = asked("ds@1", one=copied(tmp_path / "small", "locations/", "packs/"))
    assert place(report, "one").detail in (
        "it lacks, or has only damaged, 1 file",
        "it lacks, or has only damaged, 1 file and 1 tree",
    )


def test_what_verify_read_is_evidence_with_its_date(root: Path) -> None:
    store = dsa.open(root)
    store.verify(data=True)
    report = store.whereis("ds@1")
    (here,) = report.places
    assert list(here.evidence) == ["read", "listed"]
    assert all(date.endswith("Z") for date in here.evidence.values())


def test_another_store_at_the_same_place_has_no_evidence(root: Path, folder: Path) -> None:
    dsa.open(root).verify(data=True)
    root.rename(root.with_name("elsewhere"))
    dsa.open(root, create=True).push("ds", "1", folder)
    assert list(dsa.open(root).whereis("ds@1").places[0].evidence) == ["listed"]


def test_evidence_that_cannot_be_kept_does_no_harm(root: Path) -> None:
    places.state().parent.mkdir(parents=True, exist_ok=True)
    places.state().rename(places.state().with_name("gone")) if places.state().exists() else None
    places.state().write_text("a file in the way")
    store = dsa.open(root)
    store.verify(data=True)
    assert list(store.whereis("ds@1").places[0].evidence) == ["listed"]


@pytest.mark.parametrize("content", [b"", b"[]", b'{"manifests": 3}', b"\xff\xff"])
def test_evidence_that_cannot_be_read_counts_as_none(root: Path, content: bytes) -> None:
    store = ObjectStore(copied(root))
    evidence.note(store, ["a-manifest"], "read")
    (file,) = (places.state() / "evidence").iterdir()
    file.write_bytes(content)
    assert evidence.of(store, "a-manifest") == {}
    evidence.note(store, ["a-manifest"], "listed")
    assert list(evidence.of(store, "a-manifest")) == ["listed"]


# --- the command line -----------------------------------------------------------------------------


def run(*arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dsa", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == code, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def configured(root: Path, tmp_path: Path, home: Path) -> Path:
    """Return a second store, with both configured as remotes."""
    other = tmp_path / "other"
    shutil.copytree(root, other)
    (other / layout.ref_key("ds", "2")).unlink()
    file = home / ".config" / "dsa" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text(
        f'default = "lab"\n[remotes.lab]\nurl = "{root}"\n[remotes.old]\nurl = "{other}"\n'
        f'[remotes.gone]\nurl = "{tmp_path / "nowhere"}"\n'
    )
    return other


def test_the_command_lists_all_remotes(configured: Path, root: Path) -> None:
    done = run("whereis", "ds@2")
    lines = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [["yes", "lab"], ["no", "gone"], ["no", "old"]]
    assert "listed 20" in lines[0]
    assert "ds@2 is complete in 1 of 3 stores" in done.stderr
    report = json.loads(run("whereis", "ds@1", "--json").stdout)
    assert {place["remote"]: place["holds"] for place in report["places"]} == {
        "lab": True,
        "old": True,
        "gone": False,
    }
    run("whereis", "ds@3", code=3)
    run("whereis", "ds@@3", code=2)


def test_a_store_given_by_its_path_is_called_as_its_remote_is(
    configured: Path, monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    for store in (str(root), f"{root}/"):
        monkeypatch.setenv("DSA_STORE", store)
        names = [line.split()[1] for line in run("whereis", "ds@2").stdout.splitlines()]
        assert names == ["lab", "gone", "old"]


def test_a_default_store_that_is_not_there_is_not_named(configured: Path, home: Path) -> None:
    config = home / ".config" / "dsa" / "config.toml"
    config.write_text(config.read_text().replace('default = "lab"\n', ""))
    names = [line.split()[1] for line in run("whereis", "ds@2").stdout.splitlines()]
    assert names == ["gone", "lab", "old"]
    config.unlink()
    assert "nothing is there" in run("whereis", "ds@2", code=3).stdout  # nobody else to ask


def test_a_remote_that_is_configured_wrongly_stops_nobody(configured: Path, home: Path) -> None:
    config = home / ".config" / "dsa" / "config.toml"
    config.write_text(config.read_text() + '[remotes.wrong]\nurl = "s3://b/x"\nnone = "1"\n')
    lines = run("whereis", "ds@2").stdout.splitlines()
    assert [line.split()[:2] for line in lines if "wrong" in line] == [["unknown", "wrong"]]


def test_a_remote_says_what_is_meant_by_a_name(
    configured: Path, folder: Path, tmp_path: Path, home: Path
) -> None:
    (folder / "more").write_text("something else\n")
    dsa.open(tmp_path / "third", create=True).push("ds", "2", folder)
    config = home / ".config" / "dsa" / "config.toml"
    config.write_text(config.read_text() + f'[remotes.third]\nurl = "{tmp_path / "third"}"\n')
    for name, held in (("lab", {"lab"}), ("third", {"third"})):
        report = json.loads(run("whereis", f"{name}:ds@2", "--json").stdout)
        assert {one["remote"] for one in report["places"] if one["holds"]} == held


def test_a_remote_says_what_its_newest_is(configured: Path) -> None:
    report = json.loads(run("whereis", "old:ds", "--json").stdout)
    assert report["revision"] == "1"


def test_verify_takes_a_remote_by_name_and_leaves_evidence(configured: Path) -> None:
    done = run("verify", "--remote", "old", "--data")
    assert "no damage" in done.stderr
    places = json.loads(run("whereis", "ds@1", "--json").stdout)["places"]
    kinds = {place["remote"]: list(place["evidence"]) for place in places}
    assert kinds == {"lab": ["listed"], "old": ["read", "listed"], "gone": []}
    run("verify", "--remote", "other", code=3)
    run("verify", "--remote", "old", "--store", "lab", code=2)
    run("verify", "--remote", "old", "lab:ds@1", code=2)


def test_the_api_says_the_same(configured: Path) -> None:
    report = dsa.whereis("ds@2")
    assert {place.remote: place.holds for place in report.places} == {
        "lab": True,
        "old": False,
        "gone": False,
    }
    with pytest.raises(NotFoundError):
        dsa.whereis("nobody:ds@2")
