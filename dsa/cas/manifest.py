"""Manifests: what describes one revision. docs/format.md, "Objects"."""

from __future__ import annotations

import builtins
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Self

from dsa.cas import strictjson
from dsa.cas.ids import BlobId, ManifestId, ObjectId, Sha256, TreeId
from dsa.cas.names import check_dataset, check_revision
from dsa.cas.trees import FILE, FOLDER, TreeEntry, decode_tree, encode_tree
from dsa.errors import UsageError

MAX_REVISION_BYTES = 16 * 1024 * 1024
MAX_MANIFEST_BYTES = 4096  # two entries; more than this is no manifest

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The tree of exactly `data` and `revision.json`."""

    data: TreeId
    revision: BlobId

    def encode(self) -> bytes:
        """Return the bytes of the tree object."""
        return encode_tree(
            [TreeEntry("data", FOLDER, self.data), TreeEntry("revision.json", FILE, self.revision)]
        )

    @property
    def id(self) -> ManifestId:
        """The identity of the revision."""
        return ManifestId(ObjectId.of(self.encode()))

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a manifest; a ValueError if it is a tree of anything else."""
        entries = decode_tree(data)
        if [(entry.name, entry.mode) for entry in entries] != [
            ("data", FOLDER),
            ("revision.json", FILE),
        ]:
            raise ValueError("a manifest holds exactly the folder data and the file revision.json")
        return cls(TreeId(entries[0].id), BlobId(entries[1].id))


@dataclass(frozen=True, slots=True)
class RevisionLink:
    """A revision that another one names; `sha256` is that of its `revision.json`'s bytes."""

    dataset: str
    revision: str
    manifest: ManifestId
    sha256: Sha256


@dataclass(frozen=True, slots=True)
class Dependency(RevisionLink):
    """A revision that this one was made from; `requirement` is what the person asked for."""

    requirement: str = ""


@dataclass(frozen=True, slots=True)
class RevisionInfo:
    """What `revision.json` says; sizes in bytes, `folders` without the root.

    `other` keeps the keys that this release does not know.
    """

    dataset: str
    revision: str
    created: str  # RFC 3339, UTC, milliseconds: 2026-01-31T12:00:00.000Z
    author_name: str
    author_email: str
    message: str
    files: int
    folders: int
    bytes: int
    sha256: Sha256  # of the root folder
    parent: RevisionLink | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    dependencies: tuple[Dependency, ...] = ()
    other: Mapping[str, Any] = field(default_factory=dict)

    @property
    def author(self) -> str:
        """The author as git writes it: `NAME <MAIL>`."""
        return f"{self.author_name} <{self.author_email}>"

    def as_json(self) -> dict[str, Any]:
        """Return the object that is written."""
        return {
            **self.other,
            "format": 1,
            "dataset": self.dataset,
            "revision": self.revision,
            "parent": self.parent and _link_json(self.parent),
            "created": self.created,
            "author": {"name": self.author_name, "email": self.author_email},
            "message": self.message,
            "files": self.files,
            "folders": self.folders,
            "bytes": self.bytes,
            "sha256": str(self.sha256),
            "metadata": dict(self.metadata),
            "dependencies": [_link_json(link) for link in self.dependencies],
        }

    def encode(self) -> builtins.bytes:
        """Return the bytes of `revision.json`; a ValueError if they are more than may be."""
        data = strictjson.dumps(self.as_json())
        if len(data) > MAX_REVISION_BYTES:
            raise ValueError(
                f"message and metadata have {len(data)} bytes, at most {MAX_REVISION_BYTES} may be"
            )
        return data

    @classmethod
    def decode(cls, data: builtins.bytes) -> Self:
        """Read `revision.json`; a ValueError in one line if it is not as it must be."""
        if len(data) > MAX_REVISION_BYTES:
            raise ValueError("revision.json is larger than any may be")
        value = strictjson.loads(data, what="revision.json")
        take = _Fields(value)
        if (number := take.number("format")) != 1:
            raise ValueError(f"revision.json has the format {number}, this release reads 1")
        author = _Fields(take.object("author"))
        parent = take.anything("parent")
        created = take.text("created")
        if not is_time(created):
            raise ValueError("revision.json: created is not a time in UTC with milliseconds")
        dataset, revision = take.names()
        return cls(
            dataset=dataset,
            revision=revision,
            created=created,
            author_name=author.text("name"),
            author_email=author.text("email"),
            message=take.text("message"),
            files=take.number("files"),
            folders=take.number("folders"),
            bytes=take.number("bytes"),
            sha256=Sha256.parse(take.text("sha256")),
            parent=None if parent is None else _link(_Fields(_object(parent, "parent"))),
            metadata=take.object("metadata"),
            dependencies=tuple(_dependency(item) for item in take.array("dependencies")),
            other=value,
        )

    def says_the_same(self, *, message: str | None, metadata: Mapping[str, Any] | None) -> bool:
        """Whether what a person gave (None: nothing) is what stands here."""
        return (message is None or message == self.message) and (
            metadata is None or dict(metadata) == dict(self.metadata)
        )


def now() -> str:
    """Return the present time as `revision.json` writes it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def is_time(text: str) -> bool:
    """Whether this is a time as `now` writes it, of a day that there is."""
    if not _TIME.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def link_to(info: RevisionInfo, manifest: ManifestId, revision_json: bytes) -> RevisionLink:
    """Return the link by which a child names this revision."""
    return RevisionLink(info.dataset, info.revision, manifest, Sha256.of(revision_json))


class _Fields:
    """Take fields out of a JSON object, each of the right type or a ValueError."""

    def __init__(self, value: dict[str, Any]) -> None:
        self._value = value

    def anything(self, key: str) -> Any:
        try:
            return self._value.pop(key)
        except KeyError:
            raise ValueError(f"revision.json has no {key}") from None

    def names(self) -> tuple[str, str]:
        """Return the dataset and the revision: names that a person could have given."""
        try:
            return check_dataset(self.text("dataset")), check_revision(self.text("revision"))
        except UsageError as error:
            raise ValueError(f"revision.json: {error}") from None

    def text(self, key: str) -> str:
        value = self.anything(key)
        if not isinstance(value, str):
            raise ValueError(f"revision.json: {key} is not a text")
        return value

    def number(self, key: str) -> int:
        value = self.anything(key)
        if type(value) is not int or not 0 <= value < 2**63:
            raise ValueError(f"revision.json: {key} is not a number that can be")
        return value

    def object(self, key: str) -> dict[str, Any]:
        return _object(self.anything(key), key)

    def array(self, key: str) -> list[Any]:
        value = self.anything(key)
        if not isinstance(value, list):
            raise ValueError(f"revision.json: {key} is not an array")
        return value


def _object(value: Any, key: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"revision.json: {key} is not an object")
    return dict(value)


def _link_json(link: RevisionLink) -> dict[str, str]:
    made = {
        "dataset": link.dataset,
        "revision": link.revision,
        "manifest": str(link.manifest),
        "sha256": str(link.sha256),
    }
    return made | {"requirement": link.requirement} if isinstance(link, Dependency) else made


def _link(take: _Fields) -> RevisionLink:
    return RevisionLink(
        *take.names(),
        ManifestId(ObjectId.parse(take.text("manifest"))),
        Sha256.parse(take.text("sha256")),
    )


def _dependency(item: Any) -> Dependency:
    take = _Fields(_object(item, "dependencies"))
    link = _link(take)
    return replace(
        Dependency(link.dataset, link.revision, link.manifest, link.sha256),
        requirement=take.text("requirement"),
    )
