"""Doctor: what each kind of store can do is found out by trying, and stores that cannot are refused."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
from servers.ceph import READER, Ceph
from servers.conditions import IgnoringMemory, RefusingMemory
from servers.nginx import Nginx
from servers.places import PLACES, use

import dsa
from dsa.cas import layout
from dsa.cas.backend import Backend
from dsa.cas.ids import ObjectId
from dsa.cas.objectstore import ObjectStore
from dsa.cas.storefile import make_store
from dsa.cli import text
from dsa.config import places, verdicts
from dsa.errors import AccessError, DsaError
from dsa.remotes.connect import connect
from dsa.remotes.doctor import Examination, examine, examine_claims
from dsa.remotes.local import LocalBackend
from dsa.remotes.memory import MemoryBackend
from dsa.remotes.options import Options
from dsa.store import Store
from dsa.verbs.doctor import check_claims, doctor


class Untried(MemoryBackend):
    """A store of which nobody knows whether it honours conditions."""

    options = Options({})

    @property
    def claims(self) -> bool | None:
        return None


class Ignoring(IgnoringMemory, Untried):
    """A store that takes a condition and overwrites all the same."""


class Refusing(RefusingMemory, Untried):
    """A store that answers a conditional write with an error."""


class Racy(Untried):
    """A store that looks first and writes then: one after another is right, at once is not."""

    def create(self, key: str, data: bytes) -> bool:
        if key in self.files:
            return False
        time.sleep(0.02)
        self.write(key, data)
        return True


class ReadOnly(Untried):
    """A store that this user may only read."""

    reads: int = 0

    def _no(self, key: str) -> AccessError:
        return AccessError(f"no permission: {self.url}/{key}: Access Denied", is_refusal=True)

    def create(self, key: str, data: bytes) -> bool:
        raise self._no(key)

    def write(self, key: str, data: bytes) -> None:
        raise self._no(key)

    def publish(self, staged: Path, key: str) -> None:
        raise self._no(key)

    def remove(self, key: str) -> None:
        raise self._no(key)


class WriteOnce(Untried):
    """A store whose publishers may not delete."""

    def remove(self, key: str) -> None:
        raise AccessError(f"no permission: {self.url}/{key}: Access Denied", is_refusal=True)


class Attested(Untried):
    """A store whose server keeps SHA-1 checksums, and checks and gives them as it is told to."""

    def __init__(self, *, checks: bool = True, gives: bool = True) -> None:
        super().__init__()
        self._checks, self._gives = checks, gives

    def attested(self, key: str) -> bytes | None:
        return ObjectId.of(self.files[key][0]).raw if self._gives else None

    def write_attested(self, key: str, data: bytes, sha1: bytes) -> None:
        if self._checks and ObjectId.of(data).raw != sha1:
            raise DsaError(f"{key}: the SHA-1 is wrong")
        self.write(key, data)


def store_on(backend: Backend) -> Store:
    """Return the public API over a backend that no URL leads to."""
    store = Store.at("/nowhere")
    store._backend = backend
    return store


def answers(found: Examination) -> dict[str, bool | None]:
    names = ("read", "list", "write", "delete", "put_if_absent", "race", "ranges")
    return {name: getattr(found, name).can for name in names}


ALL_WELL = dict.fromkeys(
    ("read", "list", "write", "delete", "put_if_absent", "race", "ranges"), True
)


@pytest.mark.parametrize("kind", ["memory", "local"])
def test_all_is_well_with_a_good_store_and_nothing_stays(kind: str, tmp_path: Path) -> None:
    backend: Backend = MemoryBackend() if kind == "memory" else LocalBackend(tmp_path / "a" / "b")
    found = examine(backend)
    assert answers(found) == ALL_WELL
    assert found.claims.can is True
    assert found.left_behind == ()
    assert list(backend.list("")) == []
    assert list(tmp_path.iterdir()) == []  # nor a folder that was not there before


def test_a_store_that_is_there_is_left_as_it_was(tmp_path: Path) -> None:
    dsa.init(tmp_path / "store")
    before = sorted(tmp_path.rglob("*"))
    assert answers(examine(LocalBackend(tmp_path / "store"))) == ALL_WELL
    assert sorted(tmp_path.rglob("*")) == before


def test_what_was_left_behind_is_no_stranger_to_verify() -> None:
    backend = WriteOnce()
    make_store(backend)
    found = examine(backend)
    assert found.delete.can is False
    assert "no permission" in found.delete.words
    assert len(found.left_behind) == len(list(backend.list(layout.DOCTOR))) > 0
    assert store_on(backend).verify().findings == ()


def test_conditions_that_are_ignored_are_found_out() -> None:
    found = examine(Ignoring())
    assert found.put_if_absent.can is False
    assert "ignores" in found.put_if_absent.words
    assert found.claims.can is False
    assert found.write.can
    assert found.read.can
    assert found.ranges.can


def test_conditions_that_are_refused_are_found_out() -> None:
    found = examine(Refusing())
    assert found.claims.can is False
    assert "refuses" in found.claims.words
    assert found.write.can


def test_a_store_where_several_win_at_once_is_found_out() -> None:
    found = examine(Racy())
    assert found.put_if_absent.can is True
    assert found.race.can is False
    assert found.claims.can is False


def test_no_permission_to_write_is_an_answer() -> None:
    backend = ReadOnly()
    backend.files[layout.STORE] = (b'{"format": 1, "store": ""}', 0.0)
    found = examine(backend)
    assert answers(found) | {"read": True} == {
        "read": True,
        "list": True,
        "write": False,
        "delete": None,
        "put_if_absent": None,
        "race": None,
        "ranges": True,
    }
    assert found.left_behind == ()


@pytest.mark.parametrize(("checks", "gives"), [(True, True), (False, True), (True, False)])
def test_checksums_are_trusted_only_if_checked_and_given_back(checks: bool, gives: bool) -> None:
    found = examine(Attested(checks=checks, gives=gives))
    assert found.sha1_accepted.can is True
    assert found.sha1_refused.can is checks
    assert found.sha1_given.can is gives
    assert found.attests is (checks and gives)


class Breaking(Attested):
    """A store that checks no SHA-1, and whose connection breaks whenever a wrong one is sent."""

    def __init__(self) -> None:
        super().__init__(checks=False)

    def write_attested(self, key: str, data: bytes, sha1: bytes) -> None:
        if ObjectId.of(data).raw != sha1:
            raise AccessError(f"{self.url}: no answer", is_outage=True)
        super().write_attested(key, data, sha1)


def test_a_connection_that_breaks_is_no_refusal_of_a_wrong_checksum() -> None:
    found = examine(Breaking())
    assert found.sha1_refused.can is None
    assert "no answer" in found.sha1_refused.words
    assert found.attests is None
    backend = Breaking()
    doctor(backend)
    verdict = verdicts.remembered(backend)
    assert verdict is not None
    assert not verdict.attests


class Flickering(Untried):
    """A store that nobody reaches at the first conditional write, and that honours all others."""

    has_failed = False

    def create(self, key: str, data: bytes) -> bool:
        if not self.has_failed:
            self.has_failed = True
            raise AccessError(f"{self.url}: HTTP 503", is_outage=True)
        return super().create(key, data)


def test_a_connection_that_breaks_is_no_refusal_of_conditions() -> None:
    found = examine(Flickering())
    assert found.put_if_absent.can is None
    assert found.claims.can is None
    assert "HTTP 503" in found.claims.words
    backend = Flickering()
    with pytest.raises(AccessError, match="HTTP 503"):
        examine_claims(backend)
    assert examine_claims(backend).can is True
    assert backend.files == {}


def test_a_store_without_checksums_does_not_attest() -> None:
    assert examine(MemoryBackend()).attests is False


def test_the_short_examination_costs_few_files_and_leaves_none() -> None:
    backend = Untried()
    assert examine_claims(backend).can is True
    assert backend.files == {}


# --- real servers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PLACES)
def test_every_kind_of_store_can_do_what_is_said_of_it(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    place = PLACES[name]
    backend = place.make(request, tmp_path)
    found = examine(backend)
    assert answers(found) | {"put_if_absent": None, "race": None} == ALL_WELL | {
        "put_if_absent": None,
        "race": None,
    }
    assert found.claims.can is place.claims
    assert (found.requests > 0) is place.served
    assert not list(backend.list(layout.DOCTOR))


def test_a_store_on_a_web_server_is_read_and_never_pushed_to(
    web: Nginx, folder: Path, tmp_path: Path
) -> None:
    dsa.open(web.root / tmp_path.name, create=True).push("ds", "1", folder)
    url = f"{web.url}/{tmp_path.name}"
    report = doctor(connect(url), "web")
    found = report.examination
    assert (found.read.can, found.ranges.can, found.list.can, found.write.can) == (
        True,
        True,
        True,
        False,
    )
    assert "listing/" in found.list.words
    assert not report.takes_pushes
    store = dsa.open(url)
    (folder / "file").write_text("other\n")
    with pytest.raises(AccessError, match="nothing can be written") as caught:
        store.push("ds", "2", folder)
    assert str(caught.value) == (
        f"nothing can be written to {url}: read-only, as it is reached by HTTP"
    )
    assert "s3://" in str(caught.value.hint)
    assert store.verify(["ds@1"], data=True).is_clean
    assert store.whereis("ds").is_somewhere
    shutil.rmtree(web.root / tmp_path.name / "listing")
    listing = doctor(connect(url)).examination.list
    assert (listing.can, listing.words) == (
        False,
        "folders are not listed, and listing/ names no dataset",
    )


def test_servers_whose_checksums_are_worth_nothing_are_not_trusted(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    found = examine(PLACES["s3-ceph"].make(request, tmp_path))
    assert found.sha1_accepted.can is True
    assert found.sha1_refused.can is False
    assert found.attests is False


def test_read_only_credentials_are_recognised_before_a_byte_is_sent(
    gateway: Ceph, folder: Path
) -> None:
    url, options = f"s3://{gateway.bucket()}/store", {"endpoint": gateway.endpoint}
    use(gateway.writer)
    dsa.open(url, create=True, options=options).push("ds", "1", folder)
    (folder / "large").write_bytes(bytes(1_000_000))
    use(READER)
    backend = connect(url, options)
    report = doctor(backend)
    assert report.examination.read.can is True
    assert report.examination.write.can is False
    assert not report.takes_pushes
    assert report.hint == ""
    store = dsa.open(url, options=options)
    with pytest.raises(AccessError, match="no permission") as caught:
        store.push("ds", "2", folder)
    assert str(caught.value).startswith(f"nothing can be written to {url}: no permission")
    assert store._backend.traffic.bytes_sent < 10_000  # the mark, which was refused
    assert store.verify(data=True).is_clean
    assert store.whereis("ds@1").is_somewhere


# --- what is remembered ---------------------------------------------------------------------------


def test_a_verdict_is_remembered_with_its_date() -> None:
    backend = Untried("here")
    assert verdicts.remembered(backend) is None
    doctor(backend)
    verdict = verdicts.remembered(Untried("here"))
    assert verdict is not None
    assert verdict.claims is True
    assert verdict.attests is False
    assert verdict.date.endswith("Z")
    assert verdicts.remembered(Untried("there")) is None


def test_another_endpoint_is_another_verdict() -> None:
    url = "s3://bucket/store"
    one = connect(url, {"endpoint": "http://one"})
    verdicts.remember(one, claims=True, words="it was tried")
    assert verdicts.remembered(connect(url, {"endpoint": "http://other"})) is None
    assert verdicts.remembered(connect(url)) is None
    assert verdicts.remembered(connect(url, {"endpoint": "http://one", "jobs": "3"})) is not None


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_an_endpoint_of_the_environment_is_another_verdict(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    url = "s3://bucket/store"
    for host in ("http://one", "http://other"):
        monkeypatch.setenv(variable, host)
        assert verdicts.remembered(connect(url)) is None
        verdicts.remember(connect(url), claims=True, words="it was tried")
        assert verdicts.remembered(connect(url, {"endpoint": host})) is not None


@pytest.mark.parametrize("content", [b"", b"[]", b'{"key": "another"}', b"\xff"])
def test_a_verdict_that_cannot_be_read_counts_as_none(content: bytes) -> None:
    backend = Untried("here")
    verdicts.remember(backend, claims=True, words="it was tried")
    (file,) = (places.state() / "verdicts").iterdir()
    file.write_bytes(content)
    assert verdicts.remembered(backend) is None


def test_where_nothing_can_be_kept_a_push_works_all_the_same() -> None:
    places.state().parent.mkdir(parents=True)
    places.state().write_text("a file in the way")
    backend = Untried()
    check_claims(backend)
    assert verdicts.remembered(backend) is None


# --- the refusal ----------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file").write_text("content\n")
    return folder


@pytest.mark.parametrize("kind", [Ignoring, Refusing, Racy])
@pytest.mark.parametrize("is_made", [True, False])
def test_a_push_is_refused_before_anything_is_written(
    kind: type[Untried], is_made: bool, folder: Path
) -> None:
    backend = kind()
    if is_made:
        donor = MemoryBackend()
        make_store(donor)
        backend.files.update(donor.files)
    before = dict(backend.files)
    with pytest.raises(DsaError, match="could overwrite each other") as caught:
        store_on(backend).push("ds", "1", folder)
    assert caught.value.exit_code == 1
    assert "single_writer=true" in (caught.value.hint or "")
    assert backend.files == before


@pytest.mark.parametrize("kind", [Ignoring, Racy])
def test_a_push_by_a_declared_single_writer_is_taken(kind: type[Untried], folder: Path) -> None:
    backend = kind()
    backend.options = Options({"single_writer": "true"})
    assert store_on(backend).push("ds", "1", folder).is_new
    assert not list(backend.list(layout.DOCTOR))


def test_only_the_first_push_tries(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Untried()
    tried: list[str] = []
    create = MemoryBackend.create

    def noted(self: MemoryBackend, key: str, data: bytes) -> bool:
        tried.append(key)
        return create(self, key, data)

    monkeypatch.setattr(MemoryBackend, "create", noted)
    store_on(backend).push("ds", "1", folder)
    assert [key for key in tried if key.startswith(layout.DOCTOR)]
    tried.clear()
    (folder / "file").write_text("other\n")
    store_on(backend).push("ds", "2", folder)
    assert not [key for key in tried if key.startswith(layout.DOCTOR)]


def test_a_refusal_ends_when_the_server_was_mended(folder: Path) -> None:
    with pytest.raises(DsaError):
        store_on(Ignoring("here")).push("ds", "1", folder)
    assert store_on(Untried("here")).push("ds", "1", folder).is_new


@pytest.mark.parametrize("is_known", [True, False])
def test_no_permission_comes_out_before_any_file_is_read(
    folder: Path, is_known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dsa.workers.packer import Packer

    backend = ReadOnly()
    donor = MemoryBackend()
    make_store(donor)
    backend.files.update(donor.files)
    if is_known:
        verdicts.remember(backend, claims=True, words="it was tried")

    def never(*_: object) -> None:
        raise AssertionError("a file was read")

    for name in ("hash", "add", "batch", "large"):
        if hasattr(Packer, name):
            monkeypatch.setattr(Packer, name, never)
    with pytest.raises(AccessError, match="no permission") as caught:
        store_on(backend).push("ds", "1", folder)
    assert backend.url in str(caught.value)
    assert "nothing was sent" in (caught.value.hint or "")
    assert caught.value.exit_code == 6


def test_a_report_says_what_can_be_done_and_how_to_go_on() -> None:
    from dsa.cli import text

    report = doctor(Ignoring("bucket"), "lab")
    lines, remarks = (list(part) for part in text.read(report))
    assert "write           yes      files can be written" in lines
    assert any(line.startswith("put if absent   no") for line in lines)
    assert "pushes are refused" in remarks[0]
    assert "dsa remote add lab memory://bucket --option single_writer=true" in remarks[1]
    assert report.as_json()["examination"]["race"]["can"] is False
    assert report.as_json()["takes_pushes"] is False


def test_the_object_store_opens_beside_what_an_examination_left() -> None:
    backend = WriteOnce()
    examine(backend)
    make_store(backend)
    assert ObjectStore(backend).file.id


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("http://127.0.0.1:3/store", {}),
        ("s3://bucket/store", {"endpoint": "http://127.0.0.1:3", "anonymous": "true"}),
    ],
    ids=["http", "s3"],
)
def test_a_server_that_is_not_there_holds_nothing_as_far_as_anybody_knows(
    url: str, options: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dsa.remotes.retry.LONGEST_WAIT_SECONDS", 0.01)
    report = doctor(connect(url, options))
    found = report.examination
    assert found.read.can is None
    assert not found.is_empty
    assert "no connection" in found.read.words
    assert [one.words for one in (found.list, found.write)].count(found.read.words) == 0
    _, remarks = text.read(report)
    assert next(iter(remarks)).endswith("could not be examined")
