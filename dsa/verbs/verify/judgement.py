"""What verdicts on files come to: findings in plain words, and the places that are damaged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from dsa.cas import layout
from dsa.cas.ids import ObjectId
from dsa.cas.site import Place
from dsa.verbs.verify.findings import Problems
from dsa.verbs.verify.hashing import Job, raw_id
from dsa.workers.checker import NO_ENTRY, OTHER_ENTRY, WRONG_SHA256, WRONG_SIZE, Verdict

_NAMED = 3  # objects that a finding names by their ids
_SINGLE = 1_000  # missing objects that are a finding each; the others share one


def judge(
    job: Job,
    verdict: Verdict,
    problems: Problems,
    *,
    healed: Callable[[bytes, bytes | None], bool],
    part_of: Callable[[int], str],
) -> set[Place]:
    """Write down what was found of one file; return its places that are damaged.

    `healed` tells of a place (object, pack) whether it is known, and made good by another one;
    `part_of` of a row, in which part of the locations it stands.
    """
    pack = None if job.method == "loose" else raw_id(job.key)
    groups: dict[tuple[str, str, bool], list[int]] = {}
    for number, why in verdict.wrong.items():
        oid = job.places.id(number)
        is_healed = healed(oid, pack)
        kind, subject = "damaged", job.key
        if verdict.is_missing:
            kind = "missing"
        elif _is_lie(why, verdict):
            kind, subject = "lying location", part_of(job.rows[number])
        groups.setdefault((kind, subject, is_healed), []).append(number)
    for (kind, subject, is_healed), numbers in groups.items():
        details = [_told(job, verdict, numbers)]
        if subject == job.key:
            details += verdict.problems
        if is_healed:
            details.append("it was sent again, and is whole in another place")
        ids = {job.places.id(number) for number in numbers}
        told = "healed" if is_healed else kind
        problems.add(told, subject, "; ".join(details), ids=ids, is_damage=not is_healed)
    of_file = any(subject == job.key for _, subject, _ in groups)
    if not of_file and (verdict.problems or verdict.name_differs):
        details = verdict.problems or ["its bytes are not what its name says"]
        ids = {raw_id(job.key)} if pack is None else set()
        problems.add("damaged", job.key, "; ".join(details), ids=ids)
        if pack is None:
            return {(raw_id(job.key), None)}
    return {(job.places.id(number), pack) for number in verdict.wrong}


def report_lost(
    lost: dict[bytes, str], unlisted: dict[bytes, bytes], problems: Problems
) -> set[Place]:
    """Write down objects (raw ids, with why) that no row leads to; return what to put on record.

    `unlisted` are those that a pack (raw id) holds though no location says so. On record as a
    damaged loose object, such an object is sent again by the next push.
    """
    by_pack: dict[bytes, list[bytes]] = {}
    for oid, pack in unlisted.items():
        by_pack.setdefault(pack, []).append(oid)
    for pack, ids in by_pack.items():
        text = f"it holds {count(len(ids), 'object')} that no location names"
        problems.add("no location", layout.pack_key(ObjectId(pack)), text, ids=ids)
    missing = [oid for oid in sorted(lost) if oid not in unlisted]
    for oid in missing[:_SINGLE]:
        problems.add("missing", layout.object_key(ObjectId(oid)), lost[oid], ids=[oid])
    if rest := missing[_SINGLE:]:
        problems.add(
            "missing", layout.OBJECTS, f"{count(len(rest), 'more object')} of revisions", ids=rest
        )
    return {(oid, None) for oid in lost}


def _is_lie(why: str, verdict: Verdict) -> bool:
    """Whether the file is what its name says, so that it is the location that is wrong."""
    if why == WRONG_SHA256:
        return True
    return (
        why in (OTHER_ENTRY, NO_ENTRY, WRONG_SIZE)
        and not verdict.name_differs
        and not verdict.problems
    )


def _told(job: Job, verdict: Verdict, numbers: list[int]) -> str:
    """Say in words what is wrong with some of the objects that a file is said to hold."""
    if verdict.is_missing:
        return (
            "it is missing"
            if job.method == "loose"
            else f"it is missing, with {count(len(numbers), 'object')}"
        )
    reasons = Counter(verdict.wrong[number] for number in numbers)
    texts = []
    for why, number_of in reasons.most_common():
        named = [job.places.id(number).hex() for number in numbers if verdict.wrong[number] == why]
        more = ", …" if number_of > _NAMED else ""
        texts.append(f"{', '.join(named[:_NAMED])}{more}: {why}")
    head = "" if job.method == "loose" else f"{count(len(numbers), 'object')}: "
    return head + "; ".join(texts)


def count(number: int, thing: str) -> str:
    """Return a number of things in words."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
