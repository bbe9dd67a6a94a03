"""A store in a bucket of S3, or of a server that speaks its protocol.

Measured behaviour of servers is in docs/remotes.md; sessions in s3session.py, errors in s3errors.py.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, TypeVar
from urllib.parse import urlsplit

from dsa.cas import layout
from dsa.cas.backend import FileInfo, is_kept
from dsa.errors import AccessError, DsaError, UsageError
from dsa.remotes import s3errors
from dsa.remotes.anyfs import FsspecBackend
from dsa.remotes.local import copy, translate
from dsa.remotes.options import Options
from dsa.remotes.s3parts import (
    PARTS_AT_ONCE,
    WrongLength,
    part_sizes,
    parts_at_once,
    parts_of_file,
    parts_of_stream,
    reader,
    spool,
)
from dsa.remotes.s3session import Body, Place, file_system, is_aws, server_of
from dsa.remotes.s3unfinished import MD5_ETAG, Unfinished, best, forget_old
from dsa.remotes.staging import consumed, telling_full_disk
from dsa.remotes.transfer import as_done

Result = TypeVar("Result")

logger = logging.getLogger(__name__)

MIB = 1024 * 1024
GIB = 1024 * MIB

#: Up to here a file goes in one request, which a server can keep the whole SHA-1 of.
PUT_LIMIT_BYTES = 128 * MIB
LARGEST_PUT_BYTES = 5 * GIB

#: Larger ones go in parts, several of one file at once, and of so many streams.
STREAMS_AT_ONCE = 2

COPY_LIMIT_BYTES = 5 * GIB
COPY_PART_BYTES = GIB

_FURTHEST = 2**53  # the end of a range beyond which some servers count wrong
_TMP = "site/tmp/"
_FACTS_OF_A_PAGE = {"Contents", "IsTruncated", "KeyCount", "MaxKeys", "Name"}  # any will do
_SECRETS = re.compile("key|secret|token|password|username|credential", re.IGNORECASE)


class S3Backend(FsspecBackend):
    """Files below a prefix of a bucket. Every write is one request, or parts that appear at once.

    Parts of a large file stay when its sender is broken off, and the next one that sends it goes
    on with them. Parts that nobody has added to for a week are given up by whoever sends a large
    file; a rule of the bucket's (AbortIncompleteMultipartUpload) may do it too.
    """

    OPTIONS: ClassVar[dict[str, str]] = {
        "anonymous": "true: read public data without credentials",
        "endpoint": "the URL of a server that is not Amazon's, such as https://s3.example.org",
        "path_style": "true: the bucket is part of the path, not of the server's name;"
        " so it is where an endpoint is given",
        "profile": "the profile in AWS's settings whose credentials are used",
        "put_limit": "bytes up to which a file goes in one request"
        f" ({PUT_LIMIT_BYTES}; at most {LARGEST_PUT_BYTES})",
        "region": "the region of the bucket, such as eu-central-1",
    }

    def __init__(self, url: str, options: Options) -> None:
        super().__init__(url, options)
        parts = urlsplit(self._url)
        self._bucket = parts.netloc
        self._root = f"{path}/" if (path := parts.path.strip("/")) else ""
        self._put_limit = options.number("put_limit", PUT_LIMIT_BYTES)
        self._streams = threading.BoundedSemaphore(STREAMS_AT_ONCE)
        self._place: str | None = None
        self._bucket_is_known = False
        self._takes_checksums = True
        self._lists_parts = True
        self._has_forgotten_old = False

    def check_options(self) -> None:
        """Refuse what is no option, and above all secrets."""
        parts = urlsplit(self._url)
        if "@" in parts.netloc:
            raise UsageError(
                f"a URL with credentials: s3://…@{parts.netloc.rpartition('@')[2]}",
                hint=s3errors.HOW_CREDENTIALS,
            )
        if not parts.netloc or parts.query or parts.fragment:
            raise UsageError(f"{self._url} is no place in S3", hint="it is s3://BUCKET/PREFIX")
        if secrets := sorted(filter(_SECRETS.search, self._options.values)):
            raise UsageError(
                f"{self._url}: credentials are no option of a remote ({', '.join(secrets)})",
                hint=s3errors.HOW_CREDENTIALS,
            )
        super().check_options()
        endpoint = urlsplit(self._options.text("endpoint") or "https://default")
        if endpoint.scheme not in ("http", "https") or not endpoint.netloc or endpoint.query:
            raise UsageError(
                f"{self._url}: the endpoint is no URL", hint="such as https://s3.example.org"
            )
        if "@" in endpoint.netloc:
            raise UsageError(
                f"{self._url}: an endpoint with credentials", hint=s3errors.HOW_CREDENTIALS
            )
        if self._options.number("put_limit", PUT_LIMIT_BYTES) > LARGEST_PUT_BYTES:
            raise UsageError(f"{self._url}: put_limit is at most {LARGEST_PUT_BYTES}")
        for flag in ("anonymous", "path_style"):
            self._options.flag(flag)

    def connect(self) -> tuple[Any, str]:
        """Return s3fs, and where the store lies in it."""
        connections = self.jobs + STREAMS_AT_ONCE * PARTS_AT_ONCE
        fs = file_system(self._said(), connections, self._traffic)
        return fs, f"{self._bucket}/{self._root}"

    @property
    def place(self) -> str:
        """The URL, and the server and profile that options and AWS's settings name: none is asked."""
        if self._place is None:
            self._place = json.dumps([self.url, *self.ask("", lambda: server_of(self._said()))])
        return self._place

    def _said(self) -> Place:
        options = self._options
        return Place(
            endpoint=options.text("endpoint"),
            region=options.text("region"),
            profile=options.text("profile"),
            path_style=options.flag("path_style") if options.text("path_style") else None,
            anonymous=options.flag("anonymous"),
        )

    # --- asking ---------------------------------------------------------------------------------

    def ask(self, key: str, call: Callable[[], Result]) -> Result:
        """Make one request; it counts itself (s3session.py)."""
        try:
            return self.again(call)
        except (DsaError, KeyError):
            raise
        except Exception as error:
            raise self.translated(error, key) from error

    def count(self, *, requests: int = 0, sent: int = 0, received: int = 0) -> None:
        """Count nothing: the session does, where requests leave."""

    def passes(self, error: BaseException) -> bool:
        """Whether the same request may succeed a little later."""
        return s3errors.passes(error)

    def is_silence(self, error: BaseException) -> bool:
        """Whether nobody answered for as long as one waits."""
        return s3errors.is_silence(error)

    @property
    def server(self) -> str:
        """The endpoint."""
        return self._options.text("endpoint") or "S3"

    def translated(self, error: Exception, key: str) -> Exception:
        """Return dsa's error for one of S3's."""
        where = f"{self.url}/{key}" if key else self.url
        return s3errors.translated(error, key, where, self._bucket, self.server)

    def _call(self, method: str, key: str, **more: Any) -> dict[str, Any]:
        """Ask for one operation on a file, again where its error passes."""
        return self.ask(key, lambda: self._once(method, Key=self._root + key, **more))

    def _once(self, method: str, **more: Any) -> dict[str, Any]:
        found: dict[str, Any] = self.fs.call_s3(method, Bucket=self._bucket, **more)
        self._bucket_is_known = True
        return found

    def _listed(self, **more: Any) -> dict[str, Any]:
        """Return a page of a listing: the one request whose answer always says what is wrong."""
        page = self._asked("list_objects_v2", **more)
        if not _FACTS_OF_A_PAGE & page.keys():
            raise s3errors.no_s3(self.server)  # some other document, such as a web page
        return page

    def _asked(self, method: str, **more: Any) -> dict[str, Any]:
        """Ask for one operation by S3's own words: the key is that in the bucket."""
        return self.ask("", lambda: self._once(method, **more))

    def _head(self, key: str, **more: Any) -> dict[str, Any]:
        """Return the head of a file; `KeyError` if it is not there."""
        try:
            return self._call("head_object", key, **more)
        except KeyError:
            self._check_bucket()
            raise
        except AccessError as error:
            if _was_refused(error):
                self._listed(Prefix=self._root, MaxKeys=1)  # a head's refusal has no words
            raise

    def _check_bucket(self) -> None:
        """Raise what is wrong where a missing file may be a missing bucket, or no S3 at all."""
        if self._bucket_is_known:
            return
        try:
            self._listed(Prefix=self._root, MaxKeys=1)
        except AccessError as error:
            if not error.is_refusal:
                raise
            # There are credentials that may not list.
        self._bucket_is_known = True

    @property
    def claims(self) -> bool | None:
        """Not known before it was tried: some servers ignore conditions, some refuse them."""
        return None

    # --- reading --------------------------------------------------------------------------------

    def exists(self) -> bool:
        """Whether there is anything; `NotFoundError` where there is no bucket."""
        try:
            return bool(self._listed(Prefix=self._root, MaxKeys=1).get("Contents"))
        except AccessError as error:
            if _was_refused(error):  # there is public data that may be read, but not listed
                with suppress(AccessError, KeyError):
                    self._call("head_object", layout.STORE)
                    return True
            raise

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Return a range of a file."""
        if length == 0:
            self._head(key)
            return b""
        try:
            return self.ask(key, lambda: self._ranged(key, start, length))
        except KeyError as error:
            answer = s3errors.answer_of(error.__cause__) if error.__cause__ else None
            if answer is not None and answer.code == "404":  # S3 itself would have said more
                self._check_bucket()
            raise

    def _ranged(self, key: str, start: int, length: int | None) -> bytes:
        whole = not start and length is None
        end = "" if length is None or start + length > _FURTHEST else str(start + length - 1)

        def wanted(answer: dict[str, Any]) -> tuple[int, int | None]:
            return (0 if answer.get("ContentRange") else start), length

        found = self._got(key, None if whole else f"bytes={start}-{end}", wanted)
        if found is None:
            return b""  # the range begins where the file has ended
        answer, data = found
        if not whole and not answer.get("ContentRange"):
            data = data[:length]  # a server that gives all of it, whatever was asked
        elif not _is_complete(answer, data, start, length):
            raise EOFError(f"{len(data)} bytes came of {answer.get('ContentRange') or 'all'}")
        return data

    def tail(self, key: str, length: int) -> tuple[bytes, int]:
        """Return the last `length` bytes of a file, all if it has fewer, and its size."""
        if length == 0:
            return b"", int(self._head(key)["ContentLength"])
        return self.ask(key, lambda: self._end(key, length))

    def _end(self, key: str, length: int) -> tuple[bytes, int]:
        def where(answer: dict[str, Any]) -> tuple[int, int]:
            told = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", answer.get("ContentRange") or "")
            size = int(told[2] if told else answer["ContentLength"])
            return (int(told[1]) if told else max(0, size - length)), size

        def wanted(answer: dict[str, Any]) -> tuple[int, int]:
            return (0 if answer.get("ContentRange") else where(answer)[0]), length

        found = self._got(key, f"bytes=-{length}", wanted)
        if found is None:
            return b"", 0  # an empty file has no end
        answer, data = found
        start, size = where(answer)
        if start + len(data) != size or len(data) < min(length, size):
            raise EOFError(f"{len(data)} bytes came of {answer.get('ContentRange') or 'all'}")
        return data[-length:], size

    def _got(
        self,
        key: str,
        asked: str | None,
        wanted: Callable[[dict[str, Any]], tuple[int, int | None]],
    ) -> tuple[dict[str, Any], bytes] | None:
        """Return the answer to one GET, and its body; None where the file does not reach the range.

        `wanted(answer)` says how many bytes of it to pass over, and how many to take (None: all).
        Of what comes beyond them no more than a byte is taken: a server may send without end.
        """
        from fsspec.asyn import sync

        fs = self.fs
        more = {} if asked is None else {"Range": asked}

        async def body() -> tuple[dict[str, Any], bytes]:
            answer = await fs._call_s3(
                "get_object", Bucket=self._bucket, Key=self._root + key, **more
            )
            async with answer["Body"] as stream:
                return answer, await _taken(stream, *wanted(answer))

        try:
            got: tuple[dict[str, Any], bytes] = sync(fs.loop, body)
        except Exception as error:
            refused = s3errors.answer_of(error)
            if refused is not None and refused.status == 416:
                return None
            raise
        return got

    def info(self, key: str) -> FileInfo | None:
        """Return what the head of a file says."""
        try:
            head = self._head(key)
        except KeyError:
            return None
        return _file_info(key, head["ContentLength"], head)

    def list(self, prefix: str) -> Iterator[FileInfo]:
        """Yield the files below a folder, page by page as they are asked for."""
        for page in self._pages(Prefix=self._root + prefix):
            for found in page.get("Contents", ()):
                key = found["Key"][len(self._root) :]
                if not key.endswith("/") and not key.startswith(_TMP):
                    yield _file_info(key, found["Size"], found)

    def children(self, prefix: str) -> Iterator[str]:
        """Yield the names directly in a folder."""
        above = len(self._root + prefix)
        for page in self._pages(Prefix=self._root + prefix, Delimiter="/"):
            for found in page.get("CommonPrefixes", ()):
                yield found["Prefix"][above:]
            for found in page.get("Contents", ()):
                if name := found["Key"][above:]:
                    yield name

    def _pages(self, **more: Any) -> Iterator[dict[str, Any]]:
        page = self._listed(**more)
        yield page
        while page.get("IsTruncated") and (token := page.get("NextContinuationToken")):
            page = self._listed(ContinuationToken=token, **more)
            yield page

    # --- writing --------------------------------------------------------------------------------

    def create(self, key: str, data: bytes) -> bool:
        """Write a file that is not there yet: the server decides, but for a single writer.

        An answer that was lost on the way is settled by looking at what is there now.
        """
        if self._options.single_writer:
            if self.info(key) is not None:
                return False
            self.write(key, data)
            return True
        body = Body.of(data)
        digest = body.md5()
        is_unsure = False

        def put() -> bool:
            nonlocal is_unsure
            try:
                self._put_once(key, body, digest, IfNoneMatch="*")
            except Exception as error:
                answer = s3errors.answer_of(error)
                if answer is not None and answer.status == 412:
                    return False
                if answer is not None and answer.is_refused_condition:
                    raise _refuses_conditions(self.url, answer) from error
                is_unsure |= self.passes(error)
                raise
            return True

        if self.ask(key, put):
            return True
        if not is_unsure:
            return False
        try:
            return self.read(key) == data
        except KeyError:
            return False

    def write(self, key: str, data: bytes) -> None:
        """Write a file by one request."""
        body = Body.of(data)
        digest = body.md5()
        self.ask(key, lambda: self._put_once(key, body, digest))

    def publish(self, staged: Path, key: str) -> None:
        """Send a finished file from the disk."""
        try:
            with consumed(staged), staged.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if is_kept(self.info(key), size, self.url):
                    return
                if size > self._put_limit:
                    self._send_parts(key, size, parts_of_file(file, size), lambda: True)
                else:
                    self._put(key, Body(reader(file), size))
        except OSError as error:
            raise translate(error, key) from error

    def send(self, source: BinaryIO, key: str, size: int, is_right: Callable[[], bool]) -> bool:
        """Send a stream: what is wrong gets no name, as it is not sent, or its parts are given up."""
        if is_kept(self.info(key), size, self.url):
            return True
        try:
            if size > self._put_limit:
                with self._streams:
                    parts = parts_of_stream(source, size)
                    return self._send_parts(key, size, parts, is_right, parts_at_once(size))
            with spool(size) as waiting, telling_full_disk():
                copy(source, waiting, size)
                if waiting.tell() != size or not is_right():
                    return False
                self._put(key, Body(reader(waiting), size))
            return True
        except WrongLength:
            return False
        except OSError as error:
            raise translate(error, key) from error

    def _put_once(self, key: str, body: Body, digest: bytes, **more: Any) -> None:
        self._once(
            "put_object",
            Key=self._root + key,
            Body=body,
            ContentLength=body.size,
            ContentMD5=base64.b64encode(digest).decode(),
            **more,
        )

    def _put(self, key: str, body: Body) -> None:
        """Send a file by one request, with its SHA-1 where that is its name."""
        digest = body.md5()
        oid = None if key.startswith(layout.INDEX) else layout.id_of_key(key)
        declared = {} if oid is None else _checksum(oid.raw)

        def put() -> None:
            try:
                self._put_once(key, body, digest, **(declared if self._takes_checksums else {}))
            except Exception as error:
                answer = s3errors.answer_of(error)
                if declared and answer is not None and answer.is_refused_condition:
                    self._takes_checksums = False
                    return self._put_once(key, body, digest)
                raise
            return None

        self.ask(key, put)

    def _send_parts(
        self,
        key: str,
        size: int,
        parts: Iterator[Body],
        is_right: Callable[[], bool],
        at_once: int = PARTS_AT_ONCE,
    ) -> bool:
        """Send a large file in parts, several at once; it appears when all are there and right.

        Parts that an earlier, or another, sender of this file left there are not sent again.

        Two may send one file at once, to one collection of parts. That is safe, so that nobody has
        to wait until the other is surely dead: both cut the file alike, equal bytes may replace
        each other, and who finishes names the MD5 of each part, as the sender's own bytes have
        it; a server refuses to finish where one that is there has another. Who comes last hears
        that there is no such collection any more, and looks whether the file is there.

        The completion carries no condition: there are servers that take one and ignore it.
        """
        begun = self._begun(key, size)
        usable = set(begun.md5s)  # what the next one could go on with

        def send(numbered: tuple[int, Body]) -> str:
            number, body = numbered
            digest = body.md5()
            if begun.md5s.get(number) == digest:
                return f'"{digest.hex()}"'
            etag = self._send_part(key, begun.id, number, body, digest)
            if etag.strip('"') == digest.hex():
                usable.add(number)
            return etag

        try:
            numbered = enumerate(parts, 1)
            sent = {number: etag for (number, _), etag in as_done(numbered, send, at_once)}
            if is_whole := is_right():
                self._complete(key, begun.id, sent, size)
        except _Forgotten:
            if self._is_there(key, size):
                return True
            raise
        except BaseException as error:
            if _is_hopeless(error) or not usable or not self._lists_parts:
                self._give_up(key, begun.id)
            raise
        if not is_whole:
            self._give_up(key, begun.id)
        return is_whole

    def _send_part(self, key: str, begun: str, number: int, body: Body, digest: bytes) -> str:
        """Send one part; return its ETag."""
        try:
            etag: str = self._call(
                "upload_part",
                key,
                UploadId=begun,
                PartNumber=number,
                Body=body,
                ContentLength=body.size,
                ContentMD5=base64.b64encode(digest).decode(),
            )["ETag"]
        except KeyError as error:
            raise _Forgotten(self.url, key) from error
        return etag

    def _begun(self, key: str, size: int) -> Unfinished:
        """Return the parts of a file that are there already, or begin with none."""
        found = None
        if self._lists_parts:
            try:
                found = best(self._asked, self._root + key, part_sizes(size))
            except AccessError as error:
                if not _was_answered(error):
                    raise
                self._lists_parts = False  # begin anew: not all servers, and users, can look
                logger.info("%s: no look for unfinished files: %s", self.url, error)
        if self._lists_parts and not self._has_forgotten_old:
            self._has_forgotten_old = True
            folder = self._root + key[: key.find("/") + 1]
            forget_old(self._asked, folder, but=self._root + key)
        if found is not None:
            logger.info("%s/%s: %d parts are there already", self.url, key, len(found.md5s))
            return found
        return Unfinished(self._call("create_multipart_upload", key)["UploadId"])

    def _is_there(self, key: str, size: int) -> bool:
        info = self.info(key)
        return info is not None and info.size == size

    def _complete(self, key: str, upload: str, etags: dict[int, str], size: int) -> None:
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in sorted(etags.items())]
        try:
            self._call(
                "complete_multipart_upload", key, UploadId=upload, MultipartUpload={"Parts": parts}
            )
        except KeyError as error:  # done already: by another, or only the answer was lost
            if not self._is_there(key, size):
                raise _Forgotten(self.url, key) from error
            return
        if not self._is_there(key, size):  # a server, or what is before it, may say yes to anything
            raise AccessError(
                f"{self.url}/{key}: the server said that the file was finished, and it is not there",
                hint="run the command again",
                is_outage=True,
            )

    def _give_up(self, key: str, upload: str) -> None:
        """Let the server forget the parts, by one try: what stays costs space, not correctness."""
        with suppress(Exception):
            self._once("abort_multipart_upload", Key=self._root + key, UploadId=upload)

    def remove(self, key: str) -> None:
        """Remove a file."""
        with suppress(KeyError):
            self._call("delete_object", key)

    # --- checksums ------------------------------------------------------------------------------

    def attested(self, key: str) -> bytes | None:
        """Return the SHA-1 that the server gives for the whole file."""
        head = self._head(key, ChecksumMode="ENABLED")
        text = head.get("ChecksumSHA1", "")
        if head.get("ChecksumType", "FULL_OBJECT") != "FULL_OBJECT" or "-" in text:
            return None  # of parts
        try:
            raw = base64.b64decode(text, validate=True)
        except ValueError:
            return None
        return raw if len(raw) == 20 else None

    def write_attested(self, key: str, data: bytes, sha1: bytes) -> None:
        """Write a file with a SHA-1 for the server to check."""
        body = Body.of(data)
        digest = body.md5()

        def put() -> None:
            try:
                self._put_once(key, body, digest, **_checksum(sha1))
            except Exception as error:
                answer = s3errors.answer_of(error)
                if answer is None or (answer.code != "BadDigest" and self.passes(error)):
                    raise
                if 400 <= answer.status < 500 and answer.status != 403:
                    raise DsaError(
                        f"{self.url}/{key}: refused with this SHA-1 ({answer.status} {answer.code})"
                    ) from error
                raise

        self.ask(key, put)

    # --- copies that the server makes -----------------------------------------------------------

    def same_endpoint(self, other: S3Backend) -> bool:
        """Whether one server, or Amazon's, holds both, so that it can copy by itself."""
        return self.ask("", self._endpoint) == other.ask("", other._endpoint)

    def _endpoint(self) -> str:
        url = str(self.fs.s3.meta.endpoint_url).rstrip("/")
        return f"AWS{'.cn' if url.endswith('.cn') else ''}" if is_aws(url) else url

    def copy_from(self, other: S3Backend, key: str) -> None:
        """Let the server copy a file from another store of the same endpoint, unseen by us."""
        info = other.info(key)
        if info is None:
            raise KeyError(key)
        source = {"Bucket": other._bucket, "Key": other._root + key}
        if info.size <= COPY_LIMIT_BYTES:
            self._call("copy_object", key, CopySource=source)
            return

        def copied(numbered: tuple[int, int]) -> str:
            number, start = numbered
            end = min(start + COPY_PART_BYTES, info.size) - 1
            etag: str = self._call(
                "upload_part_copy",
                key,
                UploadId=upload,
                PartNumber=number,
                CopySource=source,
                CopySourceRange=f"bytes={start}-{end}",
            )["CopyPartResult"]["ETag"]
            return etag

        upload: str = self._call("create_multipart_upload", key)["UploadId"]
        try:
            starts = enumerate(range(0, info.size, COPY_PART_BYTES), 1)
            etags = {number: etag for (number, _), etag in as_done(starts, copied, PARTS_AT_ONCE)}
            self._complete(key, upload, etags, info.size)
        except BaseException:
            self._give_up(key, upload)
            raise


async def _taken(stream: Any, skip: int, length: int | None) -> bytes:
    """Read a body but for its first bytes, and of the rest at most one byte more than `length`."""
    if not skip and length is None:
        whole: bytes = await stream.read()
        return whole
    end = None if length is None else skip + length + 1
    at, pieces = 0, []
    while end is None or at < end:
        piece = await stream.read(MIB if end is None else min(MIB, end - at))
        if not piece:
            break
        pieces.append(piece[max(0, skip - at) :])
        at += len(piece)
    return b"".join(pieces)


class _Forgotten(AccessError):
    """There is no such collection of parts any more: somebody finished the file, or gave it up."""

    def __init__(self, url: str, key: str) -> None:
        super().__init__(
            f"{url}/{key}: the server forgot the parts that were sent", hint="run the command again"
        )


def _is_hopeless(error: BaseException) -> bool:
    """Whether the same parts cannot become the file later: they are not it, or the server refused it."""
    answer = s3errors.answer_of(error.__cause__) if error.__cause__ else None
    if answer is not None:
        return answer.status < 500 and answer.call == "CompleteMultipartUpload"
    return isinstance(error, WrongLength)


def _is_complete(answer: dict[str, Any], data: bytes, start: int, length: int | None) -> bool:
    """Whether all came that was asked for, by what the server says of the file."""
    told: str | None = answer.get("ContentRange")
    if told is None:
        return len(data) == int(answer["ContentLength"])
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", told)
    if match is None or int(match[1]) != start:
        return False
    left = int(match[2]) - start
    return len(data) == (left if length is None else min(left, length))


def _file_info(key: str, size: int, found: dict[str, Any]) -> FileInfo:
    """Return what a head or a listing says; the time in whole seconds, as a head has no more.

    Encrypted by a key of a key service, an ETag may look like an MD5 without being one. A time that
    is not told is taken for now: what is young is left alone.
    """
    etag = MD5_ETAG.fullmatch(found.get("ETag") or "")
    written = found.get("LastModified")
    modified = float(int(written.timestamp() if written else time.time()))
    return FileInfo(key, size, modified, bytes.fromhex(etag[1]) if etag else None)


def _was_answered(error: AccessError) -> bool:
    """Whether a server said anything at all."""
    return error.__cause__ is not None and s3errors.answer_of(error.__cause__) is not None


def _was_refused(error: AccessError) -> bool:
    """Whether a server said no, and not that it was down or out of reach."""
    answer = s3errors.answer_of(error.__cause__) if error.__cause__ else None
    return answer is not None and answer.status < 500


def _refuses_conditions(url: str, answer: s3errors.Answer) -> AccessError:
    return AccessError(
        f"{url}: the server cannot write a file only where there is none"
        f" ({answer.status} {answer.code}), which is what keeps two writers apart",
        hint="if only one person or program ever pushes there, say so:"
        " dsa remote add … --option single_writer=true",
    )


def _checksum(sha1: bytes) -> dict[str, str]:
    """Return what declares a SHA-1; some servers keep it only where the algorithm is named too."""
    return {"ChecksumAlgorithm": "SHA1", "ChecksumSHA1": base64.b64encode(sha1).decode()}
