"""When a store is down or damaged, others that hold the same manifest stand in, and it is said."""

from __future__ import annotations

import io
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from far import Down, Far, Flipping, fetch, sources
from treetools import Tree, look, make

import dsa
from dsa.cas import layout
from dsa.cas.ids import ObjectId
from dsa.cas.objectstore import ObjectStore
from dsa.cli.app import run
from dsa.config.settings import Remote, Settings
from dsa.errors import AccessError, ConflictError, DamageError, MissingObjectError, NotFoundError
from dsa.revision import Revision
from dsa.verbs import opening
from dsa.verbs.sources import RememberedRefs

LARGE = bytes(range(256)) * 4096 * 20
TREE: Tree = {"large": LARGE, "m": LARGE[:300_000], **{f"s/{at}": b"%d" % at for at in range(500)}}
OTHER: Tree = {"a": b"something else"}


def published(folder: Path, tree: Tree, revision: str = "1") -> Path:
    store = dsa.open(folder / "store", create=True)
    store.push("ds", revision, make(folder / f"source{revision}", tree), author="a <b@c>")
    return folder / "store"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published(tmp_path_factory.mktemp("site"), TREE)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published(tmp_path_factory.mktemp("other"), OTHER)


def down(folder: Path, name: str = "a") -> Down:
    far = Down(name, folder)
    far.is_down = True
    return far


# --- down from the start --------------------------------------------------------------------------


def test_another_remote_stands_in_and_it_is_said_that_the_first_could_not_be_asked(
    site: Path, tmp_path: Path
) -> None:
    report = fetch(down(site), tmp_path / "w", Far("b", site))
    assert look(tmp_path / "w") == TREE
    (warning,) = report.warnings
    assert "memory://a could not be asked" in warning
    assert "memory://b" in warning
    assert "may not be what memory://a has" in warning
    assert report.store == "memory://a"  # the worktree is still one of the store that was named
    tree = tmp_path / "w/.dsa/worktree.json"
    assert '"memory://a"' in tree.read_text().replace("\\/", "/")


def test_a_name_that_is_remembered_says_which_manifest_counts(
    site: Path, other: Path, tmp_path: Path
) -> None:
    refs = RememberedRefs(tmp_path / "refs")
    fetch(Far("a", site), tmp_path / "w", refs=refs)
    report = fetch(
        down(site),
        tmp_path / "again",
        Far("wrong", other),
        Far("right", site),
        spec="ds@1",
        refs=refs,
    )
    assert look(tmp_path / "again") == TREE
    assert "which has the same manifest" in report.warnings[0]
    with pytest.raises(AccessError, match="memory://a does not answer") as caught:
        fetch(down(site), tmp_path / "never", Far("wrong", other), spec="ds@1", refs=refs)
    assert caught.value.exit_code == 6
    assert not (tmp_path / "never").exists()


def test_others_that_do_not_agree_are_not_chosen_from(
    site: Path, other: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConflictError, match="do not agree") as caught:
        fetch(down(site), tmp_path / "w", Far("b", site), Far("c", other))
    assert len(caught.value.problems) == 2
    assert not (tmp_path / "w").exists()


def test_where_all_are_down_the_first_error_counts(site: Path, tmp_path: Path) -> None:
    with pytest.raises(AccessError, match="memory://a does not answer"):
        fetch(down(site), tmp_path / "w", down(site, "b"))


@pytest.mark.parametrize(
    "error",
    [
        AccessError("no permission: refs/", is_refusal=True),
        AccessError("the host key of lab is not known"),
        AccessError("lab does not let ada in"),
    ],
    ids=str,
)
def test_a_store_that_refuses_is_no_store_that_is_down(
    site: Path, tmp_path: Path, error: AccessError
) -> None:
    class Refusing(Far):
        def hurt(self, key: str, start: int, data: bytes) -> bytes:
            raise error

    refs = RememberedRefs(tmp_path / "refs")
    fetch(Far("a", site), tmp_path / "w", refs=refs)
    with pytest.raises(AccessError) as caught:
        fetch(Refusing("a", site), tmp_path / "w2", Far("b", site), spec="ds@1", refs=refs)
    assert caught.value is error
    assert not (tmp_path / "w2").exists()


def test_once_the_manifest_is_known_a_refusal_is_as_good_as_an_outage(
    site: Path, tmp_path: Path
) -> None:
    class Closed(Far):
        def hurt(self, key: str, start: int, data: bytes) -> bytes:
            if key.startswith(("objects/", "packs/", "index/")):
                raise AccessError(f"no permission: {key}", is_refusal=True)
            return data

    report = fetch(Closed("a", site), tmp_path / "w", Far("b", site))
    assert look(tmp_path / "w") == TREE
    assert "memory://a could not be asked (no permission" in report.warnings[0]
    assert "which has the same manifest" in report.warnings[0]


def test_what_one_endpoint_means_by_a_name_is_not_remembered_of_another(
    site: Path, other: Path, tmp_path: Path
) -> None:
    class Elsewhere(Far):
        @property
        def place(self) -> str:
            return f"{self.url} of another server"

    refs = RememberedRefs(tmp_path / "refs")
    fetch(Elsewhere("a", other), tmp_path / "w", refs=refs)
    report = fetch(down(site), tmp_path / "w2", Elsewhere("a", site), spec="ds@1", refs=refs)
    assert "may not be what memory://a has" in report.warnings[0]
    assert look(tmp_path / "w2") == TREE


def test_one_damaged_file_is_one_file(tmp_path: Path) -> None:
    store = published(tmp_path, {"only": LARGE[:300_000]})
    report = fetch(Flipping("a", store, times=10**9), tmp_path / "w", Far("b", store))
    assert report.warnings[0].startswith("1 file is missing or damaged in memory://a; 1 of it came")


def test_what_is_not_in_a_store_that_answers_is_not_looked_for_elsewhere(
    site: Path, tmp_path: Path
) -> None:
    with pytest.raises(NotFoundError):
        fetch(Far("a", site), tmp_path / "w", Far("b", site), spec="ds@9")


def test_a_damaged_manifest_is_taken_from_another_remote(
    site: Path, other: Path, tmp_path: Path
) -> None:
    far = Far("a", site)
    store = ObjectStore(far)
    ref = store.revisions.ref("ds", "1")
    assert ref is not None
    for key in (f"objects/{str(ref.manifest)[:2]}/{str(ref.manifest)[2:]}",):
        far.write(key, b"damaged")
    for key in [key for key in far.files if key.startswith("index/")]:
        far.write(key, b"damaged")
    report = fetch(far, tmp_path / "w", Far("wrong", other), Far("b", site))
    assert look(tmp_path / "w") == TREE
    assert "memory://b" in report.warnings[0]


@pytest.fixture
def grown(site: Path, tmp_path: Path) -> Path:
    """A store that has one revision more than `site`."""
    grown = tmp_path / "grown"
    shutil.copytree(site, grown)
    dsa.open(grown).push("ds", "2", make(tmp_path / "t2", OTHER))
    return grown


def test_the_newest_that_was_seen_does_not_become_an_older_one(
    site: Path, grown: Path, tmp_path: Path
) -> None:
    refs = RememberedRefs(tmp_path / "refs")
    fetch(Far("a", grown), tmp_path / "w", refs=refs)
    with pytest.raises(AccessError, match="memory://a does not answer") as caught:
        fetch(down(grown), tmp_path / "w", Far("b", site), refs=refs)
    assert "ds@1" in str(caught.value.hint)
    assert look(tmp_path / "w") == look(tmp_path / "t2")
    fetch(down(grown), tmp_path / "old", Far("b", site), spec="ds@1", refs=refs)
    assert look(tmp_path / "old") == TREE
    fetch(down(grown), tmp_path / "new", Far("b", site), Far("c", grown), refs=refs)
    assert look(tmp_path / "new") == look(tmp_path / "t2")


@pytest.mark.parametrize("spec", ["ds@2", "ds"])
def test_what_was_withdrawn_is_no_longer_remembered(
    site: Path, grown: Path, tmp_path: Path, spec: str
) -> None:
    refs = RememberedRefs(tmp_path / "refs")
    far = Far("a", grown)
    fetch(far, tmp_path / "w", refs=refs)
    assert refs.names(far.place, "ds") == ["2"]
    key = layout.ref_key("ds", "2")
    far.write(key, b"withdrawn " + far.read(key))
    with suppress(NotFoundError):
        sources(far, spec, refs=refs).resolve()
    assert "2" not in refs.names(far.place, "ds")
    fetch(down(grown), tmp_path / "v", Far("b", site), refs=refs)
    assert look(tmp_path / "v") == TREE


class At(Far):
    """A store whose URL does not say which server it is at."""

    server = ""

    @property
    def place(self) -> str:
        return f"{self.url} at {self.server}"


def test_one_url_at_two_servers_is_two_stores(site: Path, other: Path, tmp_path: Path) -> None:
    refs = RememberedRefs(tmp_path / "refs")
    here, there = At("x", site), At("x", other)
    here.server, there.server = "one", "another"
    fetch(here, tmp_path / "1", refs=refs)
    fetch(there, tmp_path / "2", refs=refs)
    assert refs.recall(here.place, "ds", "1") != refs.recall(there.place, "ds", "1")

    class Gone(At):
        def hurt(self, key: str, start: int, data: bytes) -> bytes:
            raise AccessError(f"{self.url} does not answer", is_outage=True)

    gone = Gone("x", site)
    gone.server = "one"
    fetch(gone, tmp_path / "3", there, Far("b", site), spec="ds@1", refs=refs)
    assert look(tmp_path / "3") == TREE


def test_only_another_place_stands_in_whatever_remotes_are_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = "s3://bucket/store"
    remotes = [
        Remote("first", url, {"endpoint": "http://one"}),
        Remote("again", url, {"endpoint": "http://one", "jobs": "3"}),
        Remote("usual", url),
        Remote("other", url, {"endpoint": "http://other"}),
    ]
    settings = Settings(remotes={remote.name: remote for remote in remotes})
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://one")
    found = dsa.store.open_remotes(settings, but=remotes[0])
    assert [name for name, _ in found] == ["other"]
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://usual")
    found = dsa.store.open_remotes(settings, but=remotes[0])
    assert [name for name, _ in found] == ["usual", "other"]


# --- down or damaged in the middle ----------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 1, 3])
def test_the_rest_comes_from_the_next_store(site: Path, tmp_path: Path, at: int) -> None:
    first, second = Down("a", site, at), Far("b", site)
    report = fetch(first, tmp_path / "w", second)
    assert look(tmp_path / "w") == TREE
    assert any("memory://a does not answer" in text for text in report.warnings)
    assert any("memory://b" in text for text in report.warnings)
    assert first.data_bytes() + second.data_bytes() < 1.2 * (len(LARGE) + 300_000) + 8 * 2**20 * 4


def test_a_large_file_goes_on_in_the_next_store_where_it_broke(site: Path, tmp_path: Path) -> None:
    first, second = Down("a", site, 2), Far("b", site)
    fetch(first, tmp_path / "w", second, only=("large",))
    assert (tmp_path / "w/large").read_bytes() == LARGE
    assert second.data_bytes() <= len(LARGE) - 8 * 2**20


def test_damaged_objects_come_from_the_next_store(site: Path, tmp_path: Path) -> None:
    first, second = Flipping("a", site, times=10**9), Far("b", site)
    report = fetch(first, tmp_path / "w", second)
    assert look(tmp_path / "w") == TREE
    assert "missing or damaged in memory://a" in report.warnings[0]


def test_a_store_with_another_manifest_never_stands_in(
    site: Path, other: Path, tmp_path: Path
) -> None:
    with pytest.raises(DamageError):
        fetch(Flipping("a", site, times=10**9), tmp_path / "w", Far("wrong", other))
    with pytest.raises(AccessError):
        fetch(Down("a", site), tmp_path / "w2", Far("wrong", other))


def test_a_local_store_that_is_damaged_is_helped_out_by_a_remote(tmp_path: Path) -> None:
    here = published(tmp_path / "here", TREE)
    for pack in here.glob("packs/*.zip"):
        pack.unlink()
    mirror = tmp_path / "mirror"
    dsa.open(mirror, create=True)
    import shutil

    for name in ("here",):
        good = published(tmp_path / f"good-{name}", TREE)
        shutil.copytree(good, mirror, dirs_exist_ok=True)
    # The same manifest in both: what differs in a second push is only its time.
    shutil.copytree(here / "refs", mirror / "refs", dirs_exist_ok=True)
    for folder in ("objects", "index"):
        shutil.copytree(here / folder, mirror / folder, dirs_exist_ok=True)
    settings = Settings(remotes={"mirror": Remote("mirror", str(mirror))})
    report = dsa.Store(Remote("", str(here)), settings).checkout("ds", tmp_path / "w")
    assert look(tmp_path / "w") == TREE
    assert any("from mirror" in text for text in report.warnings)


# --- one file ------------------------------------------------------------------------------------


def revision(first: Far, *others: Far) -> Revision:
    found = sources(first, "ds", *others)
    source, published = found.resolve()
    return Revision(source.store, published.dataset, published.revision, sources=found)


def cat(found: Revision, path: str) -> bytes:
    out = io.BytesIO()
    found.cat(path, out)
    return out.getvalue()


@pytest.fixture
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files from 1 MiB on count as large ones."""
    monkeypatch.setattr(opening, "VERIFY_FIRST_BYTES", 2**20)


def test_a_file_comes_from_the_next_store(site: Path) -> None:
    found = revision(Down("a", site), Far("b", site))
    assert cat(found, "s/7") == b"7"
    assert "memory://b" in found.warnings[0]
    with revision(Flipping("a", site, times=10**9), Far("b", site)).open("m") as file:
        assert file.read() == LARGE[:300_000]


@pytest.mark.usefixtures("small_limit")
def test_a_large_file_streams_on_from_the_next_store(site: Path) -> None:
    first, second = Down("a", site, 2), Far("b", site)
    found = revision(first, second)
    assert cat(found, "large") == LARGE
    assert second.data_bytes() < len(LARGE)
    assert "memory://b" in found.warnings[0]


class Losing(Far):
    """A store whose large file goes while it is read."""

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        if key.startswith("objects/") and start >= 16 * 2**20:
            raise KeyError(key)
        return super().read(key, start, length)


@pytest.mark.usefixtures("small_limit")
def test_a_large_file_that_goes_while_it_is_read_comes_on_from_the_next_store(site: Path) -> None:
    second = Far("b", site)
    assert cat(revision(Losing("a", site), second), "large") == LARGE
    assert second.data_bytes() < 5 * 2**20
    with pytest.raises(MissingObjectError):
        cat(revision(Losing("a", site)), "large")


@pytest.mark.usefixtures("small_limit")
def test_a_large_file_that_is_wrong_ends_in_damage(site: Path) -> None:
    with pytest.raises(DamageError):
        cat(revision(Flipping("a", site, times=10**9)), "large")
    with pytest.raises(DamageError):
        revision(Flipping("a", site, times=10**9)).open("large")
    with revision(Flipping("a", site, times=1)).open("large") as file:  # it was fetched anew
        assert file.read() == LARGE


@pytest.mark.usefixtures("small_limit")
def test_unverified_a_large_file_is_read_by_ranges_as_it_is_asked_for(site: Path) -> None:
    far = Far("a", site)
    with revision(far).open("large", verify=False) as file:
        file.seek(10_000_000)
        assert file.read(10) == LARGE[10_000_000:10_000_010]
        assert far.data_bytes() < 600_000
        file.seek(-5, io.SEEK_END)
        assert file.read() == LARGE[-5:]
        file.seek(0)
        requests = far.traffic.requests
        assert file.read() == LARGE
        assert far.traffic.requests - requests < 12  # it reads ahead
    with revision(far).open("s/3", verify=False) as file:
        assert file.read() == b"3"


def test_a_small_file_costs_its_own_bytes_and_is_verified(site: Path) -> None:
    far = Far("a", site)
    found = revision(far)
    assert found.read("s/7") == b"7"
    assert far.data_bytes() < 1_000
    assert found.files["s/7"].sha1 == str(ObjectId.of(b"7"))


def test_the_command_line_says_which_remote_stood_in(
    site: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["remote", "add", "lab", "http://127.0.0.1:1/store", "--no-check"]) == 0
    assert run(["remote", "add", "mirror", str(site), "--no-check"]) == 0
    capfd.readouterr()
    assert run(["cat", "lab:ds@1", "s/7"]) == 0
    shown = capfd.readouterr()
    assert shown.out == "7"
    assert shown.err.count("lab could not be asked") == 1
    assert run(["checkout", "lab:ds@1", str(tmp_path / "w")]) == 0
    assert look(tmp_path / "w") == TREE
    assert capfd.readouterr().err.count("is read from mirror") == 1
    assert run(["checkout", "lab:other@1", str(tmp_path / "w2")]) == 6
