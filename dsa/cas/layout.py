"""Which file of a store holds what: docs/format.md, "Layout". Keys are relative, with `/`."""

from __future__ import annotations

from dsa.cas.ids import ManifestId, ObjectId

STORE = "dsa.json"
OBJECTS = "objects/"
PACKS = "packs/"
LOCATIONS = "locations/"
INDEX = "index/"
REFS = "refs/"
LOG = "log/"
LISTING = "listing/"
SITE = "site/"
PENDING = "site/pending/"
GC = "site/gc/"
DAMAGED = "site/damaged/"
DOCTOR = "site/doctor/"  # what is tried out, and removed again

#: Where names lie that a ref relies on: also those that a killed push, or another one, gave.
RELIED_ON = (OBJECTS, PACKS, LOCATIONS, INDEX)

#: What a reader knows at the top of a store; `verify` names everything else.
KNOWN = (OBJECTS, PACKS, LOCATIONS, INDEX, REFS, LOG, "sigs/", LISTING, "catalog/", SITE)

#: From this size on an object lies in a file of its own.
LOOSE_FROM_BYTES = 256 * 1024


def object_key(oid: ObjectId) -> str:
    """Return where a loose object lies."""
    text = str(oid)
    return f"{OBJECTS}{text[:2]}/{text[2:]}"


def pack_key(oid: ObjectId) -> str:
    """Return where a pack lies."""
    return f"{PACKS}{oid}.zip"


def locations_key(oid: ObjectId) -> str:
    """Return where a part of the locations lies."""
    return f"{LOCATIONS}{oid}.parquet"


def index_key(manifest: ManifestId) -> str:
    """Return where the index of a manifest lies."""
    return f"{INDEX}{manifest}.parquet"


def ref_key(dataset: str, revision: str) -> str:
    """Return where a ref lies."""
    return f"{REFS}{dataset}/@{revision}"


def log_key(dataset: str, number: int) -> str:
    """Return where entry `number` (from 1) of a dataset's log lies."""
    return f"{LOG}{dataset}/@{number:08d}.json"


def id_of_key(key: str) -> ObjectId | None:
    """Return the id in the key of an object, pack, part or index; None if there is none."""
    for prefix, suffix in ((PACKS, ".zip"), (LOCATIONS, ".parquet"), (INDEX, ".parquet")):
        if key.startswith(prefix) and key.endswith(suffix):
            return _parse(key[len(prefix) : len(key) - len(suffix)])
    if key.startswith(OBJECTS) and key[len(OBJECTS) + 2 : len(OBJECTS) + 3] == "/":
        return _parse(key[len(OBJECTS) :].replace("/", "", 1))
    return None


def _parse(text: str) -> ObjectId | None:
    try:
        return ObjectId.parse(text)
    except ValueError:
        return None
