"""Recover a revision from a dsa store: python reader.py STORE DATASET@REVISION NEW_FOLDER.

Every object is checked by its SHA-1, the whole by the revision's SHA-256. Locations and indexes
are not used: the packs themselves say what is where. docs/format.md has the rules.
"""

import hashlib
import json
import os
import re
import sys
import zipfile
from functools import partial
from pathlib import Path

ENTRY = re.compile(rb"(100644|100755|120000|40000) ([^/\0]{1,255})\0(.{20})", re.DOTALL)
IGNORED = re.compile(  # code points that some file systems ignore when they compare names
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


def check(is_right, problem):
    """Stop unless all is as it must be."""
    if not is_right:
        sys.exit(f"reader: {problem}")


class Reader:
    """A store; `part` is a file on its way to its name, `left` how many entries may yet come."""

    def __init__(self, store, part):
        self.objects, self.part, self.packed, self.left = store / "objects", part, {}, 2
        for pack in map(zipfile.ZipFile, filter(zipfile.is_zipfile, store.glob("packs/*.zip"))):
            self.packed |= {entry.filename: partial(pack.open, entry) for entry in pack.infolist()}

    def fetch(self, oid):
        """Write an object to `part`, verified; return its size and its SHA-256."""
        loose = self.objects / oid[:2] / oid[2:]
        source = partial(loose.open, "rb") if loose.is_file() else self.packed.get(oid)
        check(source, f"object {oid} is missing")
        sha1, sha256 = hashlib.sha1(), hashlib.sha256()
        with source() as data, self.part.open("wb") as made:
            while piece := data.read(1 << 20):
                made.write(piece), sha1.update(piece), sha256.update(piece)
        check(sha1.hexdigest() == oid, f"object {oid} is damaged")
        return self.part.stat().st_size, sha256.hexdigest()

    def tree(self, oid):
        """Return a tree's entries as (mode, name, id); the empty one need not be stored."""
        stored = oid != "4b825dc642cb6eb9a060e54bf8d69288fbee4904" and self.fetch(oid)
        header, _, body = (self.part.read_bytes() if stored else b"tree 0\0").partition(b"\0")
        entries = ENTRY.findall(body)
        self.left -= len(entries)
        order = [name + b"/" * (mode == b"40000") for mode, name, _ in entries]
        again = b"tree %d\0" % len(body) + b"".join(b"%s %s\0%s" % entry for entry in entries)
        is_tree = again == header + b"\0" + body and order == sorted(order)
        check(is_tree and self.left >= 0, f"bad tree {oid}")
        for name in (name.decode() for _, name, _ in entries):
            short = re.split(r"[:\\]", IGNORED.sub("", name))[0].rstrip(". ").casefold()
            check(name not in (".", "..") and short not in (".dsa", "dsa~1"), f"bad name {name!r}")
        return [(mode.decode(), name, oid.hex()) for mode, name, oid in entries]

    def folder(self, oid, target, depth):
        """Make a folder; return the size of all below it and its SHA-256."""
        target.mkdir()
        total, lines = 0, b""
        for mode, name, child in self.tree(oid):
            path = target / os.fsdecode(name)
            check(depth < 256 and not os.path.lexists(path), f"{path} cannot be made")
            is_folder = mode == "40000"
            size, sha256 = self.folder(child, path, depth + 1) if is_folder else self.fetch(child)
            if mode == "120000":
                link = self.part.read_bytes()
                top = os.path.normpath(b"d/" * depth + link).split(b"/")[0]
                check(link[:1] not in b"/" and top != b".." and b"\0" not in link, f"bad {path}")
                os.symlink(link, path)
            elif not is_folder:
                self.part.chmod(0o755 if mode == "100755" else 0o644)
                self.part.rename(path)
            total, lines = total + size, lines + f"{mode} {size} {sha256} ".encode() + name + b"\0"
        return total, hashlib.sha256(lines).hexdigest()


if __name__ == "__main__":
    store, target = Path(sys.argv[1]), Path(sys.argv[3])
    dataset, _, revision = sys.argv[2].rpartition("@")
    reader = Reader(store, Path(f"{target}.part"))
    ref = (store / "refs" / dataset / f"@{revision}").read_bytes().decode()
    check(re.fullmatch("[0-9a-f]{40}\n", ref), f"this ref names nothing: {ref!r}")
    (*data, root), (*text, blob) = reader.tree(ref[:40])
    check((data, text) == (["40000", b"data"], ["100644", b"revision.json"]), "not a manifest")
    info = json.loads(reader.fetch(blob) and reader.part.read_bytes())
    check((info["dataset"], info["revision"]) == (dataset, revision), "the ref has another's name")
    reader.left = info["files"] + info["folders"]
    whole = reader.folder(root, target, 0)
    check(whole == (info["bytes"], info["sha256"]), "the SHA-256 of the whole is wrong")
    reader.part.unlink(missing_ok=True)
