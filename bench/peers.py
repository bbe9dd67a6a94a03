"""The peers that dsa is measured against, each as its users run it, with what makes it fastest here."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from bench.contenders import Contender, Links

#: What `bench/peers.sh` installs from the Python index lies here.
PEERS = Path(__file__).resolve().parents[1] / ".peers" / "bin"


def _program(name: str) -> str | None:
    """Return the path of a peer's program, None where it is not installed."""
    return shutil.which(name, path=str(PEERS)) or shutil.which(name)


def _said(*argv: str) -> str | None:
    """Return the version that a program tells, None where it is not installed."""
    program = _program(argv[0])
    if program is None:
        return None
    said = subprocess.run([program, *argv[1:]], capture_output=True, text=True, check=False)
    found = re.search(r"\d+(\.\d+)+", said.stdout + said.stderr)
    return found[0] if found else ""


class Peer(Contender):
    """A program by its name: {program} in its commands."""

    program: ClassVar[str]
    asked: ClassVar[tuple[str, ...]] = ("--version",)

    @classmethod
    def version(cls) -> str | None:
        """Return what it says of itself."""
        return _said(cls.program, *cls.asked)

    def names(self) -> dict[str, str]:
        """Return its path."""
        return {"program": shlex.quote(_program(self.program) or self.program), **super().names()}


class Rsync(Peer):
    """rsync: a plain copy, with no history."""

    name = "rsync"
    program = "rsync"
    commands: ClassVar[Mapping[str, str]] = {
        "first push": "{program} -a {source}/ {store}",
        "unchanged push": "{program} -a {source}/ {store}",
        "checkout": "{program} -a {store}/ {worktree}",
        "checkout again": "{program} -a {store}/ {worktree}",
        "checkout, hard links": "{program} -a --link-dest={store} {store}/ {linked}",
        "status": "{program} -ani --delete {store}/ {worktree}",
        "push, 4 % changed": "{program} -a {source}/ {store}",
        "switch, 4 % changed": "{program} -a {store}/ {worktree}",
        "verify, all data": "{program} -anc {source}/ {store}",
        "mirror": "{program} -a {store}/ mirrored",
    }


class Rclone(Peer):
    """rclone: a copy that compares; to a bucket, many requests at once."""

    name = "rclone"
    program = "rclone"
    asked = ("version",)
    environment: ClassVar[Mapping[str, str]] = {"RCLONE_CONFIG": ""}  # none, and no word about it
    commands: ClassVar[Mapping[str, str]] = {
        "first push": "{program} copy -q --links {source} {store}",
        "unchanged push": "{program} copy -q --links {source} {store}",
        "checkout": "{program} copy -q --links {store} {worktree}",
        "checkout again": "{program} copy -q --links {store} {worktree}",
        "push, 4 % changed": "{program} copy -q --links {source} {store}",
        "switch, 4 % changed": "{program} copy -q --links {store} {worktree}",
        "verify, all data": "{program} check -q --links {source} {store}",
        "mirror": "{program} copy -q --links {store} mirrored",
        "push to S3": "{program} copy -q {many} {source} gateway:{bucket}",
        "unchanged push to S3": "{program} copy -q {many} {source} gateway:{bucket}",
        "checkout from S3": "{program} copy -q {many} gateway:{bucket} {worktree}",
        "mirror to S3": "{program} copy -q {many} {source} gateway:{bucket}/second",
    }

    def names(self) -> dict[str, str]:
        """Return how it is told to ask many things at once."""
        many = "--transfers 32 --checkers 32 --fast-list --s3-no-check-bucket"
        return {"many": f"{many} --s3-chunk-size 16M --s3-upload-concurrency 8", **super().names()}

    def at_gateway(self, endpoint: str) -> dict[str, str]:
        """Return the environment that stands for a configuration file."""
        return {
            "RCLONE_CONFIG_GATEWAY_TYPE": "s3",
            "RCLONE_CONFIG_GATEWAY_PROVIDER": "Ceph",
            "RCLONE_CONFIG_GATEWAY_ENV_AUTH": "true",
            "RCLONE_CONFIG_GATEWAY_ENDPOINT": endpoint,
        }


class Aws(Peer):
    """The AWS command line: `cp --recursive`, and `sync` where something is there."""

    name = "aws s3"
    program = "aws"
    commands: ClassVar[Mapping[str, str]] = {
        "push to S3": "{s3} cp --recursive --only-show-errors {source} s3://{bucket}",
        "unchanged push to S3": "{s3} sync --only-show-errors {source} s3://{bucket}",
        "checkout from S3": "{s3} cp --recursive --only-show-errors s3://{bucket} {worktree}",
        "mirror to S3": "{s3} cp --recursive --only-show-errors {source} s3://{bucket}/second",
    }

    def prepare(self) -> None:
        """Let it ask more at once than the ten that it does by itself."""
        folder = self.place / "home" / ".aws"
        folder.mkdir()
        (folder / "config").write_text("[default]\ns3 =\n  max_concurrent_requests = 32\n")

    def names(self) -> dict[str, str]:
        """Return how its commands for S3 begin."""
        program = super().names()["program"]
        return {"program": program, "s3": f"{program} s3"}


class Git(Peer):
    """git, its repository outside the source; compression is off, for the bytes are random.

    Its background job that packs loose objects is off: it would run into what is measured next.
    """

    name = "git"
    program = "git"
    commands: ClassVar[Mapping[str, str]] = {
        "first push": "{git} init -q\n{git} add -f -A\n{git} commit -qm 1\n{git} tag 1",
        "unchanged push": "{git} add -f -A\n{git} commit -q --allow-empty -m again",
        "checkout": "{program} clone -q {store} {worktree}",
        "checkout again": "{program} -C {worktree} checkout -q .",
        "status": "{program} -C {worktree} status -s",
        "push, 4 % changed": "{git} add -f -A\n{git} commit -qm 2\n{git} tag 2",
        "switch, 4 % changed": (
            "{program} -C {worktree} fetch -q --tags\n{program} -C {worktree} checkout -q 2"
        ),
        "verify, all data": "{git} fsck --full --no-progress",
        "diff": "{git} diff --name-status 1 2",
        "list one folder": "{git} ls-tree 1 {folder}/",
        "mirror": "{program} clone -q --mirror --no-hardlinks {store} mirrored",
    }

    def names(self) -> dict[str, str]:
        """Return how git is told where everything is, and who commits."""
        program = super().names()["program"]
        told = [
            "user.name=bench",
            "user.email=bench@example.org",
            "core.compression=0",
            "gc.auto=0",
        ]
        more = [part for one in told for part in ("-c", one)]
        where = [f"--git-dir={self.store}", f"--work-tree={self.source}"]
        return {"program": program, "git": f"{program} {shlex.join([*more, *where])}"}


class Restic(Peer):
    """restic, which encrypts always; compression is off, for the bytes are random."""

    name = "restic"
    program = "restic"
    asked = ("version",)
    environment: ClassVar[Mapping[str, str]] = {  # of a repository that lives for minutes
        "RESTIC_PASSWORD": "bench",
        "RESTIC_FROM_PASSWORD": "bench",
    }
    commands: ClassVar[Mapping[str, str]] = {
        "first push": "cd {source}\n{restic} init -q\n{restic} backup -q --tag 1 .",
        "unchanged push": "cd {source}\n{restic} backup -q --tag again .",
        "checkout": "{restic} restore -q latest --target {worktree}",
        "checkout again": "{restic} restore -q latest --target {worktree}",
        "push, 4 % changed": "cd {source}\n{restic} backup -q --tag 2 .",
        "switch, 4 % changed": "{restic} restore -q latest --target {worktree}",
        "verify, all data": "{restic} check -q --read-data",
        "diff": "{restic} diff $(cat ids)",
        "list one folder": "{restic} ls latest /{folder}",
        "mirror": "{second} init -q {chunks}\n{second} copy -q {from}",
        "push to S3": "cd {source}\n{s3} init -q\n{s3} backup -q .",
        "unchanged push to S3": "cd {source}\n{s3} backup -q .",
        "checkout from S3": "{s3} restore -q latest --target {worktree}",
        "mirror to S3": "{s3_second} init -q {chunks}\n{s3_second} copy -q {from}",
    }
    before: ClassVar[Mapping[str, str]] = {
        "diff": (
            "{restic} snapshots --json | grep -o '\"short_id\":\"[0-9a-f]*' | cut -d '\"' -f 4 "
            "| sed -n '1p;$p' >ids"
        ),
        "mirror to S3": "cd {source}\n{restic} init -q\n{restic} backup -q .",
    }

    def names(self) -> dict[str, str]:
        """Return how it is called for each repository."""
        program = f"{super().names()['program']} --compression off"
        store = shlex.quote(str(self.store))
        s3 = f"-o s3.connections=32 -r s3:{self.endpoint}/{self.bucket}"
        return {
            "restic": f"{program} -r {store}",
            "second": f"{program} -r mirrored",
            "from": f"--from-repo {store}",
            "chunks": f"--from-repo {store} --copy-chunker-params",
            "s3": f"{program} {s3}/first",
            "s3_second": f"{program} {s3}/second",
        }


class Borg(Peer):
    """borg, without encryption and compression."""

    name = "borg"
    program = "borg"
    environment: ClassVar[Mapping[str, str]] = {"BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}
    commands: ClassVar[Mapping[str, str]] = {
        "first push": (
            "cd {source}\n{program} init -e none {store}\n{program} create -C none {store}::1 ."
        ),
        "unchanged push": "cd {source}\n{program} create -C none {store}::again-{count} .",
        "checkout": "mkdir {worktree}\ncd {worktree}\n{program} extract {store}::1",
        "checkout again": "cd {worktree}\n{program} extract {store}::1",
        "push, 4 % changed": "cd {source}\n{program} create -C none {store}::2 .",
        "switch, 4 % changed": "cd {worktree}\n{program} extract {store}::2",
        "verify, all data": "{program} check --verify-data {store}",
        "diff": "{program} diff {store}::1 2",
        "list one folder": "{program} list --short {store}::1 {folder}",
    }


class Ostree(Peer):
    """ostree in the mode `bare-user`, where files lie in the repository as they are.

    Its local mirror is not measured: it makes hard links, and so no second copy.
    """

    name = "ostree"
    program = "ostree"
    commands: ClassVar[Mapping[str, str]] = {
        "first push": "{program} init --repo={store} --mode=bare-user\n{commit} -b one",
        "unchanged push": "{commit} -b one",
        "checkout": "{ostree} checkout -U -C one {worktree}",
        "checkout, hard links": "{ostree} checkout -U -H one {linked}",
        "push, 4 % changed": "{commit} -b two",
        "verify, all data": "{ostree} fsck -q",
        "diff": "{ostree} diff one two",
        "list one folder": "{ostree} ls one /{folder}",
    }

    def names(self) -> dict[str, str]:
        """Return how a commit is made."""
        program = super().names()["program"]
        ostree = f"{program} --repo={shlex.quote(str(self.store))}"
        tree = shlex.quote(f"--tree=dir={self.source}")
        return {
            "program": program,
            "ostree": ostree,
            "commit": f"{ostree} commit --canonical-permissions {tree}",
        }


class Annex(Peer):
    """git-annex: `add`, commit and `copy` to a folder (a special remote) are what publishes.

    It takes only what lies in its repository: that is brought there before, and nobody measures it.
    """

    name = "git-annex"
    program = "git-annex"
    asked = ("version", "--raw")
    commands: ClassVar[Mapping[str, str]] = {
        "first push": "cd repo\n{add}\ngit commit -qm 1\ngit tag 1\n{copy}",
        "unchanged push": "cd repo\n{add}\ngit commit -q --allow-empty -m again\n{copy}",
        "checkout": (
            "git clone -q repo pulled\ncd pulled\n{program} init -q\n"
            "{program} enableremote -q store directory={store}\n{get}"
        ),
        "checkout again": "cd pulled\ngit checkout -q .\n{get}",
        "status": "git -C pulled status -s",
        "push, 4 % changed": "cd repo\n{add}\ngit commit -qm 2\ngit tag 2\n{copy}",
        "switch, 4 % changed": (
            "cd pulled\ngit fetch -q --tags\ngit checkout -q 2\n{program} merge -q\n{get}"
        ),
        "verify, all data": "cd repo\n{program} fsck -q -Jcpus data",
        "diff": "git -C repo diff --name-status 1 2",
        "list one folder": "git -C repo ls-tree 1 data/{folder}/",
    }
    before: ClassVar[Mapping[str, str]] = {
        "push, 4 % changed": (
            "cd {source}\n"
            "xargs -0 cp -a --parents --remove-destination -t {place}/repo/data <{changed}"
        )
    }

    def names(self) -> dict[str, str]:
        """Return its three verbs, each with a job for every core."""
        program = super().names()["program"]
        return {
            "program": program,
            "add": f"{program} add -q -Jcpus data",
            "copy": f"{program} copy -q -Jcpus --to store data",
            "get": f"{program} get -q -Jcpus --from store data",
        }

    def prepare(self) -> None:
        """Make the repository and the store, and put the data into the repository."""
        self.worktree = self.place / "pulled" / "data"
        self.do(
            "git config --global user.name bench\n"
            "git config --global user.email bench@example.org\n"
            "git config --global gc.auto 0\n"
            "git init -q repo\nmkdir {store}\ncp -a {source} repo/data\ncd repo\n"
            "{program} init -q\n"
            "{program} initremote -q store type=directory directory={store} encryption=none"
        )


class Dvc(Peer):
    """DVC without git: `add` and `push` together are what publishes.

    It takes only what lies in its repository: that is brought there before, and nobody measures it.
    """

    name = "DVC"
    program = "dvc"
    environment: ClassVar[Mapping[str, str]] = {"DVC_NO_ANALYTICS": "1"}
    commands: ClassVar[Mapping[str, str]] = {
        "first push": "cd repo\n{program} add -q data\n{program} push -q",
        "unchanged push": "cd repo\n{program} add -q data\n{program} push -q",
        "checkout": "cd pulled\ncp ../repo/data.dvc .\n{program} pull -q",
        "checkout again": "cd pulled\n{program} pull -q",
        "checkout, hard links": "cd linked\ncp ../repo/data.dvc .\n{program} checkout -q",
        "status": "cd pulled\n{program} status",
        "push, 4 % changed": "cd repo\n{program} add -q data\n{program} push -q",
        "switch, 4 % changed": "cd pulled\ncp ../repo/data.dvc .\n{program} pull -q",
        "list one folder": "cd pulled\n{program} list . data/{folder}",
        "mirror": "cd repo\n{program} push -q -r second",
        "push to S3": "cd repo\n{program} add -q data\n{program} push -q -j 32",
        "unchanged push to S3": "cd repo\n{program} add -q data\n{program} push -q -j 32",
        "checkout from S3": "cd pulled\ncp ../repo/data.dvc .\n{program} pull -q -j 32",
        "mirror to S3": "cd repo\n{program} push -q -j 32 -r second",
    }
    before: ClassVar[Mapping[str, str]] = {
        "push, 4 % changed": "cd {source}\nxargs -0 cp -a --parents -t {place}/repo/data <{changed}"
    }

    def prepare(self) -> None:
        """Make three repositories, and put the data into the first.

        The second has a cache of its own, as on another machine; the third links from the first's.
        """
        self.worktree = self.place / "pulled" / "data"
        self.linked = self.place / "linked" / "data"
        first, second = str(self.store), str(self.place / "mirrored")
        more = "true"
        if self.bucket:
            first, second = (f"s3://{self.bucket}/{name}" for name in ("first", "second"))
            more = "\n".join(
                f"{{program}} remote modify -q {name} endpointurl {self.endpoint}"
                for name in ("store", "second")
            )
        self.do(
            "mkdir repo pulled linked\ncp -a {source} repo/data\n"
            "for at in repo pulled linked; do cd $at; {program} init -q --no-scm\n"
            "{program} config core.site_cache_dir $HOME/site\n"
            f"{{program}} remote add -q -d store {shlex.quote(first)}\n"
            f"{{program}} remote add -q second {shlex.quote(second)}\n"
            f"{more}\ncd ..; done\n"
            "cd linked\n{program} cache dir -q ../repo/.dvc/cache\n"
            "{program} config -q cache.type hardlink"
        )


#: What is measured beside dsa, in this order; what is not installed is left out.
ALL: tuple[type[Contender], ...] = (
    Links,
    Rsync,
    Rclone,
    Aws,
    Git,
    Ostree,
    Restic,
    Borg,
    Annex,
    Dvc,
)
