"""Files that were begun to be sent to S3 in parts: what of them can be used, and what is to be forgotten.

S3 keeps the parts of a file that nobody finished until somebody gives them up. They are found by
the file's key; nothing about them is noted on this machine, so that any other can go on too.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from dsa.errors import DsaError

#: Asks for one operation, by S3's own words: `call("list_parts", Key=…, UploadId=…)`.
Call = Callable[..., dict[str, Any]]

MD5_ETAG = re.compile('"?([0-9a-f]{32})"?')

#: What nobody has added to for so long, by the server's clock, is nobody's any more.
LEFT = timedelta(days=7)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Unfinished:
    """S3's id of a file that comes in parts, and the raw MD5s of the parts that are there, from 1."""

    id: str
    md5s: dict[int, bytes] = field(default_factory=dict)


def best(call: Call, key: str, sizes: Sequence[int]) -> Unfinished | None:
    """Return which of this file's unfinished ones has the most parts; None where none has any.

    One that is cut otherwise than into these sizes is somebody else's business.
    """
    found = []
    for begun in call("list_multipart_uploads", Prefix=key).get("Uploads", ()):
        if begun["Key"] == key:
            with suppress(KeyError):  # it was finished meanwhile
                parts = list(_parts(call, key, begun["UploadId"]))
                found.append(Unfinished(begun["UploadId"], _md5s(parts, sizes)))
    return max((one for one in found if one.md5s), key=lambda one: len(one.md5s), default=None)


def _md5s(parts: list[dict[str, Any]], sizes: Sequence[int]) -> dict[int, bytes]:
    """Return the MD5 of each part that has one; nothing at all where a part has another size."""
    md5s = {}
    for part in parts:
        number = part["PartNumber"]
        if number > len(sizes) or part["Size"] != sizes[number - 1]:
            return {}
        if etag := MD5_ETAG.fullmatch(part.get("ETag") or ""):
            md5s[number] = bytes.fromhex(etag[1])
    return md5s


def _parts(call: Call, key: str, begun: str) -> Iterator[dict[str, Any]]:
    marker = 0
    while True:
        page = call("list_parts", Key=key, UploadId=begun, PartNumberMarker=marker)
        yield from page.get("Parts", ())
        following = int(page.get("NextPartNumberMarker") or 0)
        if not page.get("IsTruncated") or following <= marker:
            return
        marker = following


def forget_old(call: Call, folder: str, but: str) -> None:
    """Have the server forget what was left long ago below a folder, of one page; not of the key `but`.

    What cannot be listed or forgotten stays: it costs space, and nothing else.
    """
    with suppress(DsaError, KeyError):
        page = call("list_multipart_uploads", Prefix=folder)
        before = _clock(page) - LEFT
        for begun in page.get("Uploads", ()):
            key, name = begun["Key"], begun["UploadId"]
            if key == but or begun["Initiated"] >= before:
                continue
            with suppress(DsaError, KeyError):
                if all(part["LastModified"] < before for part in _parts(call, key, name)):
                    logger.info("forgetting the parts of %s, which nobody finished", key)
                    call("abort_multipart_upload", Key=key, UploadId=name)


def _clock(answer: dict[str, Any]) -> datetime:
    """Return the server's time; `KeyError` where it does not tell it."""
    try:
        return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
    except ValueError as error:
        raise KeyError("date") from error
