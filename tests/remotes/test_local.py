"""A store on a local disk: what it does beyond what every Backend promises."""

from __future__ import annotations

import errno
import grp
import multiprocessing
import os
import pickle
import resource
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from filing import KEY, WRITERS, keys, staged, stagings

import dsa
from dsa.cas.backend import Backend
from dsa.errors import AccessError, ConflictError, DsaError, NoRoomError
from dsa.remotes import staging
from dsa.remotes.connect import connect
from dsa.remotes.local import LocalBackend, _rename_to_new

IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
PACKAGE = str(Path(__file__).resolve().parents[2])


def local(tmp_path: Path) -> Backend:
    root = tmp_path / "store"
    root.mkdir()
    return LocalBackend(root)


@pytest.fixture(autouse=True)
def _stagings() -> Iterator[None]:
    with stagings:
        yield


def unfinished(root: Path) -> list[str]:
    stagings.close()
    return os.listdir(root / "site/tmp")


# --- the place -----------------------------------------------------------------------------------


def test_a_place_that_is_not_there_is_empty(tmp_path: Path) -> None:
    backend = LocalBackend(tmp_path / "not/there")
    assert not backend.exists()
    assert list(backend.list("")) == []
    assert list(backend.children("")) == []
    assert backend.info(KEY) is None
    with pytest.raises(KeyError):
        backend.read(KEY)
    assert backend.create(KEY, b"x")  # and it is made when it is written to
    assert backend.exists()


def test_a_file_is_no_place(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    with pytest.raises(ConflictError):
        LocalBackend(tmp_path / "f").exists()


def test_the_same_place_is_found_by_its_url(tmp_path: Path) -> None:
    backend = local(tmp_path)
    backend.create(KEY, b"x")
    assert connect(backend.url).read(KEY) == b"x"
    assert connect((tmp_path / "store").as_uri()).read(KEY) == b"x"


@pytest.mark.parametrize("kind", ["fifo", "folder", "loop", "dangling", "socket"])
def test_what_is_no_regular_file_is_not_there_and_nobody_waits_for_it(
    tmp_path: Path, kind: str
) -> None:
    backend = local(tmp_path)
    path = tmp_path / "store/thing"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to("thing")
    elif kind == "dangling":
        path.symlink_to("nothing")
    else:
        import socket

        # The path of a socket may be no longer than some hundred bytes.
        here = Path.cwd()
        os.chdir(path.parent)
        try:
            with socket.socket(socket.AF_UNIX) as made:
                made.bind("thing")
        finally:
            os.chdir(here)
    assert backend.info("thing") is None
    with pytest.raises(KeyError):
        backend.read("thing")
    with pytest.raises(KeyError):
        backend.open("thing")


def _create_all(backend: Backend, number: int, start: float) -> list[int]:
    time.sleep(max(0.0, start - time.time()))
    return [n for n in range(50) if backend.create(f"refs/ds/@{n}", str(number).encode() * 1000)]


def test_of_many_processes_one_wins(tmp_path: Path) -> None:
    backend = local(tmp_path)
    with multiprocessing.get_context("spawn").Pool(WRITERS) as pool:
        pool.starmap(pow, [(1, 1)] * WRITERS)  # all are up
        start = time.time() + 0.2
        won = pool.starmap(_create_all, [(backend, number, start) for number in range(WRITERS)])
    assert sorted(key for keys in won for key in keys) == list(range(50))
    for number, keys_ in enumerate(won):
        for key in keys_:
            assert backend.read(f"refs/ds/@{key}") == str(number).encode() * 1000


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP])
@pytest.mark.parametrize("has_rename", [True, False])
def test_without_links_creation_is_still_exclusive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, has_rename: bool
) -> None:
    def no_link(*_: object) -> None:
        raise OSError(code, "no links here")

    monkeypatch.setattr(os, "link", no_link)
    if not has_rename:
        monkeypatch.setattr("dsa.remotes.local._rename_to_new", no_link)
    backend = local(tmp_path)
    key = f"packs/{40 * '0'}.zip"
    (tmp_path / "store").chmod(0o770)
    before = os.umask(0o077)
    try:
        assert backend.create(key, b"first")
        assert not backend.create(key, b"second")
        assert backend.create("refs/ds/@1", b"ref")
    finally:
        os.umask(before)
    assert backend.read(key) == b"first"
    assert keys(backend.list("")) == [key, "refs/ds/@1"]
    assert stat.S_IMODE((tmp_path / "store" / key).stat().st_mode) == 0o440
    assert stat.S_IMODE((tmp_path / "store/refs/ds/@1").stat().st_mode) == 0o660


def test_a_rename_that_does_not_overwrite_stands_in_for_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_link(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    def fails(*_: object) -> None:
        raise AssertionError("created under its final name")

    try:
        _rename_to_new(tmp_path / "none", tmp_path / "new")
    except FileNotFoundError:
        pass
    except OSError as error:
        pytest.skip(f"no renameat2 here: {error}")
    monkeypatch.setattr(os, "link", no_link)
    monkeypatch.setattr(LocalBackend, "_create_in_place", fails)
    backend = local(tmp_path)
    assert backend.create(KEY, b"first")
    assert not backend.create(KEY, b"second")
    assert backend.read(KEY) == b"first"
    assert unfinished(tmp_path / "store") == []


def test_without_links_and_renames_a_short_write_leaves_no_torn_file(tmp_path: Path) -> None:
    """The disk is full once the temporary file is written: RLIMIT_FSIZE, in a process of its own."""
    script = f"""
import errno, os, resource, signal, sys
sys.path.insert(0, {PACKAGE!r})
from pathlib import Path
from dsa.errors import DsaError
from dsa.remotes import local
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
def no_link(*_):
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    raise OSError(errno.EPERM, "no links here")
os.link = local._rename_to_new = no_link
backend = local.LocalBackend(Path({str(tmp_path / "store")!r}))
try:
    backend.create("refs/ds/@1", b"x" * 100_000)
except DsaError:
    pass
else:
    sys.exit("it was written")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
assert backend.info("refs/ds/@1") is None
assert not list(Path(backend.url, "site/tmp").iterdir())
real = os.write
os.write = lambda descriptor, data: real(descriptor, data[:1000])  # a short write is no error
os.link = local._rename_to_new = lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "no"))
assert backend.create("refs/ds/@1", b"x" * 100_000)
assert backend.read("refs/ds/@1") == b"x" * 100_000
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# --- write, publish, remove ----------------------------------------------------------------------


def test_publish_replaces_what_is_no_file_of_a_store(tmp_path: Path) -> None:
    backend = local(tmp_path)
    (tmp_path / "store/packs").mkdir()
    os.mkfifo(tmp_path / "store" / KEY)
    backend.publish(staged(backend, b"content"), KEY)
    assert backend.read(KEY) == b"content"


def test_a_failed_publish_leaves_neither_name_nor_staged_file(tmp_path: Path) -> None:
    backend = local(tmp_path)
    (tmp_path / "store" / KEY).mkdir(parents=True)
    path = staged(backend, b"content")
    with pytest.raises(DsaError):
        backend.publish(path, KEY)
    assert not path.exists()


def test_a_file_where_a_folder_should_be_is_a_designed_error(tmp_path: Path) -> None:
    backend = local(tmp_path)
    backend.create("packs", b"a file")
    for call in (
        lambda: backend.create(KEY, b"x"),
        lambda: backend.write(KEY, b"x"),
        lambda: backend.publish(staged(backend, b"x"), KEY),
    ):
        with pytest.raises(DsaError):
            call()


# --- staging -------------------------------------------------------------------------------------


_KILLED = """
import os, sys
sys.path.insert(0, {package!r})
from pathlib import Path
from dsa.remotes.local import LocalBackend
backend = LocalBackend(Path({root!r}))
context = backend.staging()
folder = context.__enter__()
(folder / "half").write_bytes(b"half")
os.fsync = lambda descriptor: (print(folder, flush=True), sys.stdin.read())
backend.create("new", b"half")
"""


def test_what_a_killed_process_left_is_cleaned_and_what_a_living_one_has_is_not(
    tmp_path: Path,
) -> None:
    backend = local(tmp_path)
    tmp = tmp_path / "store/site/tmp"
    script = _KILLED.format(package=PACKAGE, root=backend.url)
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        theirs = Path(program.stdout.readline().strip())
        with backend.staging() as own:
            before = set(tmp.iterdir())
            assert {own, theirs} < before
            assert len(before) == 3  # and the file of its `create`
        assert (theirs / "half").exists()
        program.kill()
    with backend.staging() as own:
        assert list(tmp.iterdir()) == [own]


def test_what_another_host_or_another_start_left_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its locks may not be seen here."""
    backend = local(tmp_path)
    with backend.staging() as own, monkeypatch.context() as patch:
        patch.setattr("socket.gethostname", lambda: "elsewhere")
        theirs = own.parent / f"{staging._prefix()}x"
        patch.undo()
        patch.setattr("dsa.cas.site.boot_id", lambda: "before")
        earlier = own.parent / f"{staging._prefix()}x"
    mine = theirs.parent / f"{staging._prefix()}x"
    for path in (mine, theirs, earlier):
        path.mkdir()
        (path / "file").write_bytes(b"x")
    os.mkfifo(theirs.parent / f"{staging._prefix()}fifo")
    (theirs.parent / f"{staging._prefix()}link").symlink_to(tmp_path)
    with backend.staging():
        assert (theirs / "file").exists()
        assert (earlier / "file").exists()
        assert not mine.exists()
    assert tmp_path.exists()


@pytest.mark.parametrize("is_folder", [True, False])
def test_what_is_cleaned_before_it_is_locked_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_folder: bool
) -> None:
    taken: list[Path] = []
    name = "_make_folder" if is_folder else "_make_file"
    make = getattr(staging, name)

    def makes(path: Path) -> int:
        descriptor: int = make(path)
        if len(taken) < 2:
            taken.append(path)
            staging.clean(path.parent)
            assert not path.exists()
        return descriptor

    monkeypatch.setattr(staging, name, makes)
    backend = local(tmp_path)
    if is_folder:
        with backend.staging() as own:
            assert own.is_dir()
            assert own not in taken
    else:
        assert backend.create(KEY, b"x")
        assert backend.read(KEY) == b"x"
    assert len(taken) == 2


@pytest.mark.parametrize("has_module", [True, False])
def test_without_locks_nothing_is_cleaned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_module: bool
) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks here")

    if has_module:
        monkeypatch.setattr("fcntl.flock", fails)
    else:
        monkeypatch.setattr(staging, "fcntl", None)
    backend = local(tmp_path)
    with backend.staging() as one, backend.staging() as other:
        assert one.is_dir()
        assert other.is_dir()
        assert backend.create(KEY, b"x")
    assert unfinished(tmp_path / "store") == []


def test_staged_files_are_on_the_disk_of_the_store(tmp_path: Path) -> None:
    backend = local(tmp_path)
    with backend.staging() as own:
        assert own.stat().st_dev == (tmp_path / "store").stat().st_dev
        assert own.parent == tmp_path / "store/site/tmp"


def test_all_is_synced_before_it_is_said_to_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every file by itself, and every folder that got a new name."""
    synced: set[str] = set()

    def fsync(descriptor: int, real: Callable[[int], None] = os.fsync) -> None:
        synced.add(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    if not Path("/proc/self/fd").exists():
        pytest.skip("this system does not tell the names of open files")
    monkeypatch.setattr(os, "fsync", fsync)
    backend = local(tmp_path)
    root = str(tmp_path / "store")
    backend.create("refs/some/set/@1", b"x")
    assert {f"{root}/refs/some/set", f"{root}/refs/some", f"{root}/refs", root} <= synced
    assert any(path.startswith(f"{root}/site/tmp/") for path in synced)
    synced.clear()
    backend.write("refs/some/set/@1", b"y")
    assert f"{root}/refs/some/set" in synced
    assert any(path.startswith(f"{root}/site/tmp/") for path in synced)
    synced.clear()
    path = staged(backend, b"z")
    backend.publish(path, KEY)
    assert synced == {str(path)}
    backend.flush()
    assert {f"{root}/packs", root} <= synced
    synced.clear()
    backend.flush()
    assert synced == set()
    backend.flush(also=("packs/", "refs/", "none/"))
    assert synced == {f"{root}/packs", f"{root}/refs"}


def test_what_somebody_else_named_is_synced_with_what_relies_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folders that another process made, or killed before its flush, as if they were one's own."""
    if not Path("/proc/self/fd").exists():
        pytest.skip("this system does not tell the names of open files")
    root = tmp_path / "store"
    (root / "refs/some/set").mkdir(parents=True)
    synced: set[str] = set()
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: synced.add(os.readlink(f"/proc/self/fd/{descriptor}"))
    )
    LocalBackend(root).create("refs/some/set/@1", b"x")
    assert {str(root / key) for key in ("refs/some/set", "refs/some", "refs", "")} <= synced


def test_a_flush_that_failed_is_made_up_for_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path("/proc/self/fd").exists():
        pytest.skip("this system does not tell the names of open files")
    backend = local(tmp_path)
    backend.publish(staged(backend, b"x"), KEY)
    backend.publish(staged(backend, b"x"), "index/x")
    tried: set[str] = set()

    def fails(descriptor: int) -> None:
        raise OSError(errno.EIO, "the disk is broken")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails)
        for _ in range(5):
            with pytest.raises(DsaError):
                backend.flush(also=["packs/"])
        patch.setattr(
            os, "fsync", lambda descriptor: tried.add(os.readlink(f"/proc/self/fd/{descriptor}"))
        )
        backend.flush()
    root = str(tmp_path / "store")
    assert {root, f"{root}/packs", f"{root}/index"} <= tried


# --- whose files they are ------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o700, 0o750, 0o2775, 0o777])
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_files_and_folders_take_the_mode_of_the_root(tmp_path: Path, mode: int, umask: int) -> None:
    backend = local(tmp_path)
    root = tmp_path / "store"
    root.chmod(mode)
    before = os.umask(umask)
    try:
        backend.create("refs/some/@1", b"x")
        backend.write("listing/x", b"x")
        backend.publish(staged(backend, b"x"), KEY)
    finally:
        os.umask(before)
    for folder in ("refs", "refs/some", "packs", "listing", "site", "site/tmp"):
        assert stat.S_IMODE((root / folder).stat().st_mode) == mode, folder
    assert stat.S_IMODE((root / "refs/some/@1").stat().st_mode) == mode & 0o666
    assert stat.S_IMODE((root / "listing/x").stat().st_mode) == mode & 0o666
    assert stat.S_IMODE((root / KEY).stat().st_mode) == mode & 0o444  # named by its content


def test_files_and_folders_take_the_group_of_the_root(tmp_path: Path) -> None:
    others = [group for group in os.getgroups() if group != os.getegid()]
    others += (
        [group.gr_gid for group in grp.getgrall() if group.gr_gid != os.getegid()]
        if IS_ROOT
        else []
    )
    if not others:
        pytest.skip("this user is in one group alone")
    backend = local(tmp_path)
    root = tmp_path / "store"
    os.chown(root, -1, others[0])
    backend.create("refs/some/@1", b"x")
    backend.publish(staged(backend, b"x"), KEY)
    for name in ("refs", "refs/some", "refs/some/@1", "packs", KEY):
        assert (root / name).stat().st_gid == others[0], name


# --- what goes wrong -----------------------------------------------------------------------------

_AS_NOBODY = """
import os, sys
sys.path.insert(0, {package!r})
from pathlib import Path
from dsa.remotes.local import LocalBackend  # imported while it may still be read
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
from dsa.errors import AccessError
backend = LocalBackend(Path({root!r}))
staged = Path({staged!r})
for name, call in {{
    "read": lambda: backend.read("closed/secret"),
    "open": lambda: backend.open("closed/secret"),
    "info": lambda: backend.info("closed/secret"),
    "list": lambda: list(backend.list("closed/")),
    "list all": lambda: list(backend.list("")),
    "children": lambda: list(backend.children("closed/")),
    "unreadable": lambda: backend.read("unreadable"),
    "create": lambda: backend.create("new", b"x"),
    "create below": lambda: backend.create("new/below", b"x"),
    "write": lambda: backend.write("open", b"x"),
    "staging": lambda: backend.staging().__enter__(),
    "remove": lambda: backend.remove("open"),
    "publish": lambda: backend.publish(staged, "new"),
}}.items():
    try:
        call()
    except AccessError as error:
        assert error.exit_code == 6 and "no permission" in str(error), error
    else:
        sys.exit(name + " was allowed")
assert backend.read("open") == b"there"
"""


def test_without_permission_it_is_an_access_error(tmp_path: Path) -> None:
    root = tmp_path / "store"
    (root / "closed").mkdir(parents=True)
    (root / "closed/secret").write_bytes(b"x")
    (root / "open").write_bytes(b"there")
    (root / "unreadable").write_bytes(b"x")
    staged = tmp_path / "staged"
    staged.write_bytes(b"x")
    (root / "unreadable").chmod(0)
    (root / "closed").chmod(0)
    root.chmod(0o555)
    open_up = [
        folder for folder in tmp_path.parents if folder.owner() == tmp_path.owner() and IS_ROOT
    ]
    before = {folder: folder.stat().st_mode for folder in [tmp_path, *open_up]}
    for folder, mode in before.items():  # the other user has to get there
        if not mode & 0o001:
            folder.chmod(stat.S_IMODE(mode) | 0o001)
    script = _AS_NOBODY.format(package=PACKAGE, root=str(root), staged=str(staged))
    try:
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, cwd="/"
        )
    finally:
        for folder, mode in before.items():
            folder.chmod(stat.S_IMODE(mode))
        root.chmod(0o755)
        (root / "closed").chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert keys(LocalBackend(root).list("")) == ["closed/secret", "open", "unreadable"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a folder on a disk of one mebibyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        made = subprocess.run(mount, capture_output=True, text=True) if IS_ROOT else None
    except FileNotFoundError:
        made = None
    if made is None or made.returncode:
        pytest.skip(
            "a small disk cannot be mounted here" + (f": {made.stderr.strip()}" if made else "")
        )
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("verb", ["push", "mirror"])
def test_a_full_disk_of_temporary_files_is_told_with_how_to_move_them(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t/large").write_bytes(os.urandom(3_000_000))
    near = dsa.open(tmp_path / "near", create=True)
    near.push("ds", "1", tmp_path / "t")
    url = f"memory://{tmp_path.name}{verb}"
    far = dsa.open(url, create=True, options={"single_writer": "true"})
    monkeypatch.setattr("tempfile.tempdir", str(small_disk))
    call: Callable[[], object] = partial(near.mirror, far, ["ds@1"])
    if verb == "push":
        call = partial(far.push, "ds", "1", tmp_path / "t")
    with pytest.raises(NoRoomError, match=f"temporary files in {small_disk}") as caught:
        call()
    assert "TMPDIR" in str(caught.value.hint)
    assert not list(small_disk.glob("dsa-*/*"))


def test_a_full_disk_is_a_designed_error_and_nothing_has_a_name(small_disk: Path) -> None:
    backend = LocalBackend(small_disk / "store")
    backend.create("small", b"x")
    for write in (backend.create, backend.write):
        with pytest.raises(DsaError, match="no space left") as caught:
            write("large", b"x" * 2_000_000)
        assert type(caught.value) is NoRoomError
        assert caught.value.exit_code == 1
        assert caught.value.hint
    assert backend.info("large") is None
    assert keys(backend.list("")) == ["small"]
    assert unfinished(small_disk / "store") == []
    assert backend.create("large", b"x" * 100_000)  # there is room again


def test_a_file_that_may_not_grow_is_a_designed_error(tmp_path: Path) -> None:
    """Like a full disk, and without being root: RLIMIT_FSIZE, in a process of its own."""
    script = f"""
import resource, signal, sys
sys.path.insert(0, {PACKAGE!r})
from pathlib import Path
from dsa.errors import AccessError, DsaError
from dsa.remotes.local import LocalBackend
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
backend = LocalBackend(Path({str(tmp_path / "store")!r}))
backend.create("refs/ds/@1", b"there")
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
for write in (backend.create, backend.write):
    try:
        write("large", b"x" * 100_000)
    except DsaError as error:
        assert error.exit_code == 1
    else:
        sys.exit("it was written")
try:
    backend.write("refs/ds/@1", b"y" * 100_000)
except DsaError:
    pass
assert backend.read("refs/ds/@1") == b"there"
assert [info.key for info in backend.list("")] == ["refs/ds/@1"]
assert not list(Path(backend.url, "site/tmp").iterdir())
"""
    assert resource.RLIMIT_FSIZE >= 0
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_no_foreign_exception_comes_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    backend = local(tmp_path)
    backend.create("there", b"x")

    def fails(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fails)
    for call in (
        lambda: backend.create("new", b"x"),
        lambda: backend.write("there", b"y"),
        lambda: backend.publish(staged(backend, b"x"), KEY),
    ):
        with pytest.raises(DsaError) as caught:
            call()
        assert isinstance(caught.value, AccessError) is (code == errno.EROFS)
        assert isinstance(caught.value.__cause__, OSError)
    monkeypatch.undo()
    assert keys(backend.list("")) == ["there"]
    assert backend.read("there") == b"x"
    assert unfinished(tmp_path / "store") == []


# --- other processes -----------------------------------------------------------------------------


def test_a_local_backend_may_be_sent_to_another_process(tmp_path: Path) -> None:
    backend = local(tmp_path)
    backend.create(KEY, b"x")
    backend.publish(staged(backend, b"y"), "packs/other")
    sent = pickle.loads(pickle.dumps(backend))
    assert isinstance(sent, LocalBackend)
    assert sent.url == backend.url
    assert sent.read(KEY) == b"x"
    sent.publish(staged(sent, b"z"), "packs/third")
    sent.flush()
    assert backend.read("packs/third") == b"z"


def test_a_path_on_this_machine(tmp_path: Path) -> None:
    backend = local(tmp_path)
    backend.create(KEY, b"x")
    assert backend.local_path(KEY) == tmp_path / "store" / KEY
