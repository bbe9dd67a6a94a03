"""How each report reads: the data that was asked for, and the remarks about it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from dsa.cas.names import count, printable
from dsa.cli.console import columns, harmless, lines_of, size, when
from dsa.reports import (
    CacheChange,
    CacheReport,
    Change,
    CheckoutReport,
    DiffReport,
    DoctorReport,
    Finding,
    InitReport,
    MirrorReport,
    PushReport,
    Report,
    ShowReport,
    StatusReport,
    VerifyReport,
    WhereisReport,
)

R = TypeVar("R", bound=Report)
Reading = tuple[Iterable[str], Iterable[str]]

#: Names in a remark; `--json` has them all.
NAMED = 20


def read(report: Report) -> Reading:
    """Return a report as lines of data, for stdout, and as remarks, for stderr."""
    return _READERS[type(report)](report)


def init(report: InitReport) -> Reading:
    """Say whether the store is new."""
    made = "would make the store" if report.dry_run else "made the store"
    verb = made if report.created else "this is a store already:"
    return (), [f"{verb} {printable(report.store)}"]


def push(report: PushReport) -> Reading:
    """Say what is published now, what it took, and what stayed out."""
    return (), _push(report)


def _push(report: PushReport) -> Iterator[str]:
    name = f"{report.dataset}@{report.revision}"
    if report.store_created:
        yield f"{'would make' if report.dry_run else 'made'} the store {printable(report.store)}"
    if not report.is_new:
        what = "nothing was written"
        if report.healed:
            what = f"only what the store held damaged was sent again ({count(report.healed, 'object')})"
        yield f"{name} is already there, with the same data: {what}"
        yield from _left_out(report.left_out)
        yield from map(harmless, report.warnings)
        return
    verb = "would push" if report.dry_run else "pushed"
    yield f"{verb} {name} to {printable(report.store)}{_in_time(report.seconds)}"
    contents = (count(report.files, "file"), count(report.folders, "folder"), size(report.bytes))
    read = "all" if report.files_read >= report.files else f"{report.files_read:,}"
    yield f"  contents  {', '.join(contents)}; {read} read{'' if read == 'all' else ', the others known'}"
    yield f"  new       {_objects(report.objects_new, report.bytes_new)}"
    yield f"  shared    {_objects(report.objects_shared, report.bytes_shared)}"
    if report.requests:
        yield f"  sent      {size(report.bytes_sent)} in {count(report.requests, 'request')}"
    if report.healed:
        yield f"  healed    {count(report.healed, 'object')} that the store held damaged"
    yield f"  parent    {report.parent or 'none'}"
    yield f"  manifest  {report.manifest}" if report.manifest else f"  data      {report.data}"
    yield f"  author    {printable(report.author)}{_source(report.author_source)}"
    yield from _left_out(report.left_out)
    yield from map(harmless, report.warnings)


def _objects(number: int, size_bytes: int) -> str:
    return f"{count(number, 'object')}, {size(size_bytes)}"


def _source(source: str) -> str:
    if source != "login":
        return ""
    return (
        " (your login name: --author, DSA_AUTHOR or git's user.name and user.email say it better)"
    )


def _left_out(left_out: Mapping[str, int]) -> Iterator[str]:
    told = {reason: number for reason, number in left_out.items() if reason != ".dsa"}
    if told:  # that a worktree's own folder is no data goes without saying
        reasons = (f"{number:,} {printable(reason)}" for reason, number in told.items())
        yield f"  left out  {', '.join(reasons)}"


def _in_time(seconds: float) -> str:
    return f" in {seconds:.1f} s" if seconds >= 0.1 else ""


def checkout(report: CheckoutReport) -> Reading:
    """Say what was written, what was there already, and what stays though it is not the revision's."""
    return (), _checkout(report)


def _checkout(report: CheckoutReport) -> Iterator[str]:
    verb = "would check out" if report.dry_run else "checked out"
    folder = printable(report.folder)
    name = f"{report.dataset}@{report.revision}"
    yield f"{verb} {name} into {folder}{_in_time(report.seconds)}"
    written = f"{count(report.written, 'file')}, {size(report.bytes_written)}"
    yield f"  written   {written}{_ways(report)}"
    yield f"  unchanged {count(report.unchanged, 'file')}"
    if report.removed:
        yield f"  removed   {count(report.removed, 'file')}"
    if report.permissions:
        yield f"  executable bit set or cleared on {count(report.permissions, 'file')}"
    if report.requests:
        wire = f"{size(report.bytes_received)} received"
        yield f"  network   {wire}, {count(report.requests, 'request')}"
    overwritten = "would be overwritten" if report.dry_run else "overwritten"
    yield from _named(report.replaced, f"edited, and {overwritten} (--force)")
    yield from _named(report.edited, "edited, and not in this revision or selection: left alone")
    yield from _named(report.kept, "unknown, left alone (--clean removes what is unknown)")
    yield from map(harmless, report.warnings)


def cache(report: CacheReport) -> Reading:
    """List what is in the cache; what it is as a whole is a remark."""
    rows = (
        (size(one.size), when(one.used), one.key, ", ".join(map(printable, one.pinned)))
        for one in report.files
    )
    return (line.rstrip() for line in columns(rows)), _cache(report)


def _cache(report: CacheReport) -> Iterator[str]:
    limit = "no limit" if report.limit is None else f"of {size(report.limit)}"
    held = f"{count(len(report.files), 'file')}, {size(report.bytes)}"
    yield f"{printable(report.folder)}: {held} ({limit})"
    yield from (f"  pinned    {printable(one)}" for one in report.pins)


def cache_change(report: CacheChange) -> Reading:
    """Say what was fetched into the cache, or dropped from it."""
    return (), _cache_change(report)


def _cache_change(report: CacheChange) -> Iterator[str]:
    for name in report.pinned:
        yield f"pinned {printable(name)} in {printable(report.folder)}"
        yield f"  fetched   {count(report.files_fetched, 'file')}, {size(report.bytes_fetched)}"
    for name in report.unpinned:
        yield f"{printable(name)} is not pinned any more"
    if not (report.pinned or report.unpinned):
        gone = f"{count(report.files_dropped, 'file')}, {size(report.bytes_dropped)}"
        yield f"dropped {gone} from {printable(report.folder)}"
        if report.files_pinned:
            yield f"  {count(report.files_pinned, 'file')} stayed, being pinned"
    yield from map(harmless, report.warnings)


def _ways(report: CheckoutReport) -> str:
    ways = {"hard-linked": report.linked, "cloned": report.cloned, "copied": report.copied}
    told = [f"{number:,} {way}" for way, number in ways.items() if number]
    return f" ({', '.join(told)})" if report.linked or report.cloned else ""


def _named(names: Sequence[str], what: str) -> Iterator[str]:
    if names:
        yield f"  {count(len(names), 'file')} {what}:"
        yield from (f"    {printable(name)}" for name in names[:NAMED])
        if len(names) > NAMED:
            yield f"    … and {len(names) - NAMED:,} more"


def status(report: StatusReport) -> Reading:
    """List the changes; say against what, and how many."""
    name = f"{report.dataset}@{report.revision}"
    remarks = [f"{name} in {printable(report.folder)}, from {printable(report.store)}"]
    if report.selection:
        remarks.append(f"  selected  {', '.join(map(printable, report.selection))}")
    remarks += _left_out(report.left_out)
    remarks.append("no changes" if report.is_clean else _totals(report.totals))
    return map(change, report.changes), remarks


def diff(report: DiffReport) -> Reading:
    """List the changes; say how many."""
    same = f"{printable(report.old)} and {printable(report.new)} are the same"
    return map(change, report.changes), [same if report.is_clean else _totals(report.totals)]


def change(change: Change) -> str:
    """Write one change as `A path`, `D path`, `M path`, `R old -> new` or `X path (mode -> mode)`."""
    path = printable(change.path)
    match change.kind:
        case "added":
            return f"A {path}"
        case "removed":
            return f"D {path}"
        case "renamed":
            return f"R {printable(change.old_path or '?')} -> {path}"
        case "mode":
            return f"X {path} ({change.old_mode} -> {change.new_mode})"
        case "modified":
            return f"M {path}"


_TOTALS = {
    "added": "added",
    "removed": "removed",
    "modified": "modified",
    "renamed": "renamed",
    "mode": "with another mode",
}


def _totals(totals: Mapping[str, int]) -> str:
    told = [f"{totals[kind]:,} {word}" for kind, word in _TOTALS.items() if totals.get(kind)]
    sizes = [
        f"{sign}{size(totals[key])}"
        for sign, key in (("+", "bytes_added"), ("-", "bytes_removed"))
        if totals.get(key)
    ]
    return f"{', '.join(told) or 'no files'}{f' ({chr(32).join(sizes)})' if sizes else ''}"


def verify(report: VerifyReport) -> Reading:
    """List the findings by kind; say what was looked at, and whether it is whole."""
    return _findings(report.findings), _verified(report)


def _findings(findings: Sequence[Finding]) -> Iterator[str]:
    kinds = dict.fromkeys(finding.kind for finding in findings)
    for kind in kinds:
        group = [finding for finding in findings if finding.kind == kind]
        remark = "" if any(finding.is_damage for finding in group) else ", no damage"
        yield f"{kind} ({len(group):,}{remark})"
        for finding in group:
            yield f"  {printable(finding.subject)}: {harmless(finding.detail)}"
            yield from (f"    {printable(path)}" for path in finding.paths)
            if finding.paths_total > len(finding.paths):
                yield f"    … and {finding.paths_total - len(finding.paths):,} more"
            if not finding.paths and finding.revisions:
                yield f"    of {', '.join(map(printable, finding.revisions))}"


def _verified(report: VerifyReport) -> Iterator[str]:
    looked_at = ", ".join(
        (
            count(report.revisions, "revision"),
            count(report.objects, "object"),
            count(report.packs, "pack"),
        )
    )
    yield f"verified {looked_at}, {size(report.bytes_read)} read{_in_time(report.seconds)}"
    if report.files_attested:
        attested = f"{count(report.files_attested, 'file')}, {size(report.bytes_attested)}"
        yield f"  attested  {attested}: by checksums that the store itself gives (--read reads them)"
        yield f"  read      {count(report.files_read, 'file')}"
    if report.requests:
        yield f"  requests  {report.requests:,}"
    damaged = sum(finding.is_damage for finding in report.findings)
    if not damaged:
        yield "no damage"
        return
    yield f"DAMAGE: {count(damaged, 'finding')} in {printable(report.store)}"
    if report.recorded:
        yield f"{count(report.recorded, 'damaged place')} recorded: the next push of such data heals it"


def doctor(report: DoctorReport) -> Reading:
    """List what a remote can do, a line each; say whether it takes pushes."""
    return _doctor(report), _prescribed(report)


_QUESTIONS = {
    "read": "read",
    "list": "list",
    "write": "write",
    "delete": "delete",
    "put_if_absent": "put if absent",
    "race": "8 at once",
    "ranges": "ranges",
    "sha1_accepted": "SHA-1 accepted",
    "sha1_refused": "SHA-1 checked",
    "sha1_given": "SHA-1 given",
}


def _doctor(report: DoctorReport) -> Iterator[str]:
    for name, title in _QUESTIONS.items():
        answer = getattr(report.examination, name)
        word = {True: "yes", False: "no", None: "unknown"}[answer.can]
        yield f"{title:<14}  {word:<7}  {harmless(answer.words)}"


def _prescribed(report: DoctorReport) -> Iterator[str]:
    found = report.examination
    place = f"{report.remote} ({printable(report.store)})" if report.remote else report.store
    if report.takes_pushes:
        single = "" if found.claims.can else ", by a single writer, as was declared"
        yield f"{place} can be read and pushed to{single}"
    elif found.write.can and found.read.can:
        yield f"{place} can be read; pushes are refused: {harmless(found.claims.words)}"
    elif found.read.can:
        yield f"{place} can be read, not pushed to"
    elif found.is_empty:
        yield f"{place} holds nothing yet"
    elif found.read.can is None:
        yield f"{place} could not be examined"
    else:
        yield f"{place} cannot be used"
    if report.hint:
        yield f"  {report.hint}"
    if found.attests:
        yield "  its checksums can stand for reading: `dsa verify --data` takes them, unless --read is given"
    for key in found.left_behind:
        yield f"  {key} could not be removed, and does no harm"
    if report.requests:  # of a place on this machine there are none
        yield f"  {count(report.requests, 'request')}{_in_time(report.seconds)}"


def whereis(report: WhereisReport) -> Reading:
    """List the stores, a line each: whether they hold it, where they are, and how that is known."""
    return _whereis(report), _held(report)


def _whereis(report: WhereisReport) -> Iterator[str]:
    width = max((len(place.remote or "-") for place in report.places), default=1)
    for place in report.places:
        word = {True: "yes", False: "no", None: "unknown"}[place.holds]
        seen = ", ".join(f"{kind} {when(date)}" for kind, date in place.evidence.items())
        told = "; ".join(filter(None, (seen, harmless(place.detail))))
        yield f"{word:<7}  {place.remote or '-':<{width}}  {printable(place.store)}  {told}".rstrip()


def _held(report: WhereisReport) -> Iterator[str]:
    name = f"{report.dataset}@{report.revision}"
    holding = sum(bool(place.holds) for place in report.places)
    yield f"{name} is complete in {holding} of {count(len(report.places), 'store')}"
    if len({place.manifest for place in report.places if place.manifest}) > 1:
        yield f"they hold different revisions under the name {name}:"
        yield from (
            f"  {place.manifest}  {printable(place.store)}"
            for place in report.places
            if place.manifest
        )


def mirror(report: MirrorReport) -> Reading:
    """List the revisions that were brought; say what travelled. What stands in the way is an error."""
    return map(printable, report.mirrored), _mirror(report)


def _mirror(report: MirrorReport) -> Iterator[str]:
    would = report.dry_run
    if report.store_created:
        yield f"{'would make' if would else 'made'} the store {printable(report.target)}"
    ways = f"from {printable(report.source)} to {printable(report.target)}"
    verb = "would mirror" if would else "mirrored"
    number = count(len(report.mirrored), "revision")
    yield f"{verb} {number} {ways}{_in_time(report.seconds)}"
    yield f"  there     {count(len(report.there), 'revision')}"
    if report.mirrored:
        sent = "would send" if would else "sent"
        yield f"  {sent:<9} {_objects(report.objects_sent, report.bytes_objects)}{_packs(report)}"
        yield f"  shared    {_objects(report.objects_shared, report.bytes_shared)}"
    if report.healed:
        would_heal = "would heal" if would else "healed"
        yield f"  {would_heal:<9} {count(report.healed, 'object')} that the target held damaged"
    if report.requests:
        wire = f"{size(report.bytes_received)} received, {size(report.bytes_sent)} sent"
        yield f"  network   {wire}, {count(report.requests, 'request')}"
    if report.server_side and report.objects_unread:
        unread = count(report.objects_unread, "object")
        yield f"  unread    {unread} copied by the server, on the source's word (`dsa verify --data` reads them)"
    if report.log_entries:
        yield f"  log       {report.log_entries:,} new in the datasets' logs"
    yield from _revisions("withdrawn there, too", report.withdrawn)
    left = "withdrawn at the source, left as it is (--withdrawals takes that over)"
    yield from _revisions(left, report.withdrawn_at_source)
    yield from map(harmless, report.warnings)


def _packs(report: MirrorReport) -> str:
    told = {"whole pack": report.packs_whole, "new pack": report.packs_new}
    packs = [count(number, word) for word, number in told.items() if number]
    return f" ({', '.join(packs)})" if packs else ""


def _revisions(heading: str, names: Sequence[str]) -> Iterator[str]:
    if names:
        yield f"  {heading}:"
        yield from (f"    {printable(name)}" for name in names)


def show(report: ShowReport) -> Reading:
    """Tell what one revision is: its `revision.json`, and what it shares."""
    return _show(report), ()


def _show(report: ShowReport) -> Iterator[str]:
    info = report.info
    yield f"{report.dataset}@{report.revision}"
    yield f"  store     {printable(report.store)}"
    yield f"  manifest  {report.manifest}"
    yield f"  data      {report.data}"
    yield f"  created   {when(str(info.get('created', '')))}"
    yield f"  author    {_author(info.get('author'))}"
    yield f"  contents  {_contents(info)}"
    yield f"  parent    {_revision(info.get('parent'))}"
    if report.shared_files is not None:
        shared = f"{count(report.shared_files, 'file')}, {size(report.shared_bytes or 0)}"
        yield f"  shared    {shared}, with its parent"
    yield from _listed("needs", [_revision(one) for one in info.get("dependencies") or ()])
    metadata = json.dumps(info.get("metadata") or {}, indent=2, ensure_ascii=False, sort_keys=True)
    yield from _listed("metadata", lines_of(metadata) if info.get("metadata") else ())
    yield from _listed("message", lines_of(str(info.get("message") or "").strip("\n")))


def _listed(heading: str, lines: Iterable[str]) -> Iterator[str]:
    """Write lines below one another, the first beside the heading; nothing if there is none."""
    for number, line in enumerate(lines):
        if line or number:
            yield f"  {heading if number == 0 else '':<8}  {line}".rstrip()


def _author(author: Any) -> str:
    if not isinstance(author, Mapping):
        return printable(str(author))
    return printable(f"{author.get('name', '')} <{author.get('email', '')}>")


def _contents(info: Mapping[str, Any]) -> str:
    files, folders, size_bytes = (int(info.get(key, 0)) for key in ("files", "folders", "bytes"))
    return f"{count(files, 'file')}, {count(folders, 'folder')}, {size(size_bytes)}"


def _revision(parent: Any) -> str:
    if not isinstance(parent, Mapping):
        return "none"
    name = f"{parent.get('dataset')}@{parent.get('revision')}"
    return printable(f"{name} ({parent['manifest']})" if "manifest" in parent else name)


_READERS: dict[type[Report], Callable[[Any], Reading]] = {
    InitReport: init,
    PushReport: push,
    CheckoutReport: checkout,
    CacheReport: cache,
    CacheChange: cache_change,
    StatusReport: status,
    DiffReport: diff,
    VerifyReport: verify,
    DoctorReport: doctor,
    MirrorReport: mirror,
    WhereisReport: whereis,
    ShowReport: show,
}
