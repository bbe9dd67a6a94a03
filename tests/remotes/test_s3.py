"""What is S3's own: options, credentials, conditions, parts, retries, checksums, copies, traffic."""

from __future__ import annotations

import base64
import dataclasses
import io
import logging
import os
import subprocess
import sys
import textwrap
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from hashlib import md5, sha1
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from filing import KEY, staged, stagings
from hypothesis import given
from hypothesis import strategies as st
from servers.ceph import WRITER, Ceph, Keys
from servers.moto import Moto
from servers.places import use
from servers.proxy import Fault, Plan, faulty
from servers.scripted import NOTHING, Answer, Scripted, refusal, scripted

from dsa.cas.backend import Attesting
from dsa.errors import AccessError, DsaError, NotFoundError, UsageError
from dsa.remotes import retry, s3, s3parts, s3unfinished
from dsa.remotes.connect import connect
from dsa.remotes.options import Options
from dsa.remotes.s3 import S3Backend

MIB = 1024 * 1024
CREATED = Answer(200, headers={"ETag": '"x"'})
HEAD_404 = Answer(404)


@pytest.fixture(autouse=True)
def _prepared(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(retry, "FIRST_WAIT_SECONDS", 0.001)
    monkeypatch.setattr(retry, "LONGEST_WAIT_SECONDS", 0.01)
    use(WRITER)
    with stagings:
        yield


def at(server: Scripted | Moto | Ceph | str, bucket: str = "bucket", **options: str) -> S3Backend:
    endpoint = server if isinstance(server, str) else server.endpoint
    return S3Backend(f"s3://{bucket}/below", Options({"endpoint": endpoint, **options}))


def told(error: pytest.ExceptionInfo[Exception]) -> str:
    found = error.value
    return f"{found} {getattr(found, 'hint', '')} {found.__cause__!r}"


# --- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["key", "secret", "token", "password", "aws_secret_access_key", "username"]
)
def test_credentials_are_no_options_and_are_not_repeated(name: str) -> None:
    with pytest.raises(UsageError) as error:
        connect("s3://bucket", {name: "hunter2"})
    assert name in str(error.value)
    assert "profile" in str(error.value.hint)
    assert "hunter2" not in told(error)


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("s3://AKIAKEY:hunter2@bucket/x", {}),
        ("s3://bucket/x", {"endpoint": "https://me:hunter2@s3.example.org"}),
    ],
)
def test_a_url_with_credentials_is_refused_and_not_repeated(
    url: str, options: dict[str, str]
) -> None:
    with pytest.raises(UsageError) as error:
        S3Backend(url, Options(options))
    assert "hunter2" not in told(error)
    assert "credentials" in str(error.value)
    with pytest.raises(UsageError) as error:
        connect(url, options)
    assert "hunter2" not in told(error)


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("s3://", {}),
        ("s3:///path", {}),
        ("s3://bucket/x?versionId=1", {}),
        ("s3://bucket", {"endpoint": "s3.example.org"}),
        ("s3://bucket", {"endpoint": "ftp://s3.example.org"}),
        ("s3://bucket", {"path_style": "perhaps"}),
        ("s3://bucket", {"anonymous": "perhaps"}),
        ("s3://bucket", {"put_limit": "6000000000"}),
        ("s3://bucket", {"put_limit": "-1"}),
        ("s3://bucket", {"colour": "red"}),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_asked(
    url: str, options: dict[str, str]
) -> None:
    with pytest.raises(UsageError):
        connect(url, options)


def test_a_name_that_no_bucket_has_is_no_place() -> None:
    with pytest.raises(UsageError, match="Invalid bucket name"):
        S3Backend("s3://no bucket!", Options({})).read(KEY)


def test_a_server_of_ones_own_is_asked_by_path_and_no_more_than_it_knows() -> None:
    with scripted(CREATED) as server:
        at(server).write("a b", b"x" * 100)
    (request,) = server.requests
    assert request.path == "/bucket/below/a%20b"
    assert request.body == b"x" * 100
    assert base64.b64decode(request.headers["content-md5"]) == md5(request.body).digest()
    assert "content-md5" in request.headers["authorization"]  # signed
    assert not [name for name in request.headers if "trailer" in name or "checksum" in name]
    assert "expect" not in request.headers
    assert "transfer-encoding" not in request.headers


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "auto"),
        ({"endpoint": "https://s3.example.org"}, "path"),
        ({"endpoint": "https://s3.eu-central-1.amazonaws.com"}, "auto"),
        ({"endpoint": "https://s3.example.org", "path_style": "false"}, "auto"),
        ({"path_style": "true"}, "path"),
    ],
)
def test_the_bucket_is_in_the_path_where_it_has_to_be(
    options: dict[str, str], expected: str
) -> None:
    fs = S3Backend("s3://bucket", Options(options)).fs
    assert fs.config_kwargs["s3"]["addressing_style"] == expected


def test_the_endpoint_may_stand_in_awss_own_settings(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    with scripted(CREATED, CREATED) as server:
        (home / ".aws/config").write_text(f"[default]\nendpoint_url = {server.endpoint}\n")
        connect("s3://bucket").write("file", b"")
        (home / ".aws/config").unlink()
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.endpoint)
        connect("s3://bucket").write("env", b"")
    assert [request.path for request in server.requests] == ["/bucket/file", "/bucket/env"]


def test_a_region_is_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted(CREATED) as server:
        at(server, region="eu-west-3").write("a", b"")
    assert "/eu-west-3/s3/" in server.requests[0].headers["authorization"]


# --- credentials ---------------------------------------------------------------------------------


def test_no_credentials_is_no_access(home: Path) -> None:
    (home / ".aws/credentials").unlink()
    with scripted() as server, pytest.raises(AccessError, match="no AWS credentials") as error:
        at(server).read(KEY)
    assert "profile" in str(error.value.hint)
    assert server.requests == []


def test_a_profile_is_used_and_an_unknown_one_is_named(home: Path) -> None:
    with (home / ".aws/credentials").open("a") as file:
        file.write(Keys("OTHEROTHEROTHEROTHER", "s" * 40).profile("lab"))
    with scripted(CREATED) as server:
        at(server, profile="lab").write("a", b"")
        assert "Credential=OTHEROTHER" in server.requests[0].headers["authorization"]
        with pytest.raises(AccessError, match="no profile 'none'"):
            at(server, profile="none").write("a", b"")


def test_anonymous_requests_are_not_signed(home: Path) -> None:
    (home / ".aws/credentials").unlink()
    with scripted(Answer(200, b"data")) as server:
        assert at(server, anonymous="true").read(KEY) == b"data"
    assert "authorization" not in server.requests[0].headers


def test_a_wrong_secret_is_told_whatever_is_asked_and_not_shown(
    gateway: Ceph, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "dsa")
    bucket = gateway.bucket()
    use(Keys(gateway.writer.access, "wrongwrongwrongwrongwrongwrong"))
    backend = at(gateway, bucket)
    for call in (
        lambda: backend.info(KEY),
        lambda: backend.read(KEY),
        backend.exists,
        lambda: backend.create(KEY, b"x"),
        lambda: backend.publish(staged(backend, b"x"), KEY),
    ):
        with pytest.raises(AccessError, match="does not accept these AWS credentials") as error:
            call()
        assert "wrongwrong" not in told(error)
    assert "wrongwrong" not in caplog.text + repr(backend) + str(vars(backend))
    use(Keys("UNKNOWNUNKNOWNUNKNOW", "wrongwrongwrongwrongwrongwrong"))
    with pytest.raises(AccessError, match="does not accept these AWS credentials"):
        at(gateway, bucket).info(KEY)


def test_who_may_only_read_reads_and_is_told_at_the_first_write(gateway: Ceph) -> None:
    bucket = gateway.bucket()
    at(gateway, bucket).write(KEY, b"data")
    use(gateway.reader)
    backend = at(gateway, bucket)
    assert backend.read(KEY) == b"data"
    assert backend.info("none") is None
    assert [info.key for info in backend.list("")] == [KEY]
    for call in (
        lambda: backend.write("new", b"x"),
        lambda: backend.create("new", b"x"),
        lambda: backend.publish(staged(backend, b"x"), "new"),
        lambda: backend.remove(KEY),
    ):
        with pytest.raises(AccessError, match="no permission for") as error:
            call()
        assert f"s3://{bucket}/below/" in str(error.value)
        assert (error.value.is_refusal, error.value.is_outage) == (True, False)
    large = at(gateway, bucket, put_limit="1")
    with pytest.raises(AccessError, match="no permission for CreateMultipartUpload"):
        large.publish(staged(large, b"xx"), "new")
    assert large.traffic.bytes_sent == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda backend: backend.exists(),
        lambda backend: backend.info(KEY),
        lambda backend: backend.read(KEY),
        lambda backend: backend.read(KEY, 0, 0),
        lambda backend: list(backend.list("")),
        lambda backend: list(backend.children("")),
        lambda backend: backend.write(KEY, b"x"),
        lambda backend: backend.create(KEY, b"x"),
        lambda backend: backend.publish(staged(backend, b"x"), KEY),
    ],
)
def test_a_bucket_that_is_not_there_is_told_and_never_made(
    moto_server: Moto, call: Callable[[S3Backend], object]
) -> None:
    backend = at(moto_server, "no-such-bucket")
    with pytest.raises(NotFoundError, match="has no bucket 'no-such-bucket'") as error:
        call(backend)
    assert "aws s3 mb s3://no-such-bucket" in str(error.value.hint)


def test_expired_credentials_are_told() -> None:
    with (
        scripted(Answer(400), Answer(400), refusal(400, "ExpiredToken")) as server,
        pytest.raises(AccessError, match="expired"),
    ):
        at(server).info(KEY)
    # The refusal of a head has no words; botocore asks whether the bucket is in another region.
    assert server.asked() == ["HEAD", "HEAD", "GET"]


def test_a_server_that_is_not_there_is_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted() as server:
        endpoint = server.endpoint
    with pytest.raises(AccessError, match=f"no connection to {endpoint}"):
        at(endpoint).read(KEY)


def test_a_host_that_nobody_knows_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT_SECONDS", 100)
    monkeypatch.setattr(retry, "LONGEST_WAIT_SECONDS", 100)
    with pytest.raises(AccessError, match="no connection"):
        at("http://nobody.invalid").read(KEY)


def test_public_data_that_may_not_be_listed_exists(home: Path) -> None:
    with scripted(
        refusal(403, "AccessDenied"), Answer(200), refusal(403, "AccessDenied")
    ) as server:
        assert at(server, anonymous="true").exists()
        assert server.requests[1].path.endswith("/below/dsa.json")
        with pytest.raises(AccessError):
            at(server, anonymous="true").exists()


# --- put if absent -------------------------------------------------------------------------------


def test_create_is_one_request_with_a_condition() -> None:
    with scripted(CREATED, refusal(412, "PreconditionFailed")) as server:
        assert at(server).create("dsa.json", b"{}")
        assert not at(server).create("dsa.json", b"{}")
    assert server.asked() == ["PUT", "PUT"]
    assert server.requests[0].headers["if-none-match"] == "*"


@pytest.mark.parametrize("lost", [NOTHING, refusal(503, "SlowDown"), refusal(500, "InternalError")])
@pytest.mark.parametrize(("there", "expected"), [(b"mine", True), (b"theirs", False)])
def test_a_lost_answer_is_settled_by_reading_back(
    lost: Answer, there: bytes, expected: bool
) -> None:
    with scripted(lost, refusal(412, "PreconditionFailed"), Answer(200, there)) as server:
        assert at(server).create(KEY, b"mine") is expected
    assert server.asked() == ["PUT", "PUT", "GET"]


def test_a_real_answer_that_is_lost_is_settled_too(gateway: Ceph) -> None:
    bucket = gateway.bucket()
    with faulty(gateway.endpoint, Nth(Fault.LOST, 0)) as endpoint:
        assert at(endpoint, bucket).create(KEY, b"mine")
    with faulty(gateway.endpoint, Nth(Fault.LOST, 0)) as endpoint:
        assert not at(endpoint, bucket).create(KEY, b"other")
    assert at(gateway, bucket).read(KEY) == b"mine"


def test_two_at_the_same_moment_try_again() -> None:
    with scripted(refusal(409, "ConditionalRequestConflict"), CREATED) as server:
        assert at(server).create(KEY, b"mine")
    assert server.asked() == ["PUT", "PUT"]


def test_a_store_that_refuses_conditions_is_told_and_may_have_a_single_writer() -> None:
    with scripted(refusal(501, "NotImplemented")) as server:
        with pytest.raises(AccessError, match="only where there is none") as error:
            at(server).create(KEY, b"mine")
        assert "single_writer=true" in str(error.value.hint)
        server.answers[:] = [CREATED, HEAD_404, CREATED]
        single = at(server, single_writer="true")
        single.write("a", b"")
        assert single.create(KEY, b"mine")
    assert server.asked() == ["PUT", "PUT", "HEAD", "PUT"]
    assert "if-none-match" not in server.requests[-1].headers


# --- what passes, and what does not --------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        refusal(500, "InternalError"),
        refusal(502, "BadGateway"),
        refusal(503, "SlowDown"),
        refusal(504, "GatewayTimeout"),
        refusal(400, "RequestTimeout"),
        Answer(503, b"<html>not XML at all"),
        NOTHING,
        Answer(200, b"the data", cut=3),
        Answer(200, b"the data", cut=0),
    ],
    ids=str,
)
def test_what_passes_is_asked_again(fault: Answer) -> None:
    with scripted(fault, Answer(200, b"the data")) as server:
        backend = at(server)
        assert backend.read(KEY) == b"the data"
    assert len(server.requests) == backend.traffic.requests == 2


@pytest.mark.parametrize(
    "answer",
    [
        refusal(403, "AccessDenied"),
        refusal(400, "InvalidRequest"),
        refusal(405, "MethodNotAllowed"),
        refusal(501, "NotImplemented"),
    ],
    ids=str,
)
def test_what_does_not_pass_is_asked_once(answer: Answer) -> None:
    with scripted(answer) as server:
        backend = at(server)
        with pytest.raises(AccessError, match=f"s3://bucket/below/{KEY}"):
            backend.read(KEY)
    assert len(server.requests) == backend.traffic.requests == 1


def test_nobody_else_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "TRIES", 1)
    with scripted(refusal(503, "SlowDown"), NOTHING, Answer(200, b"x", cut=0)) as server:
        for _ in range(3):
            with pytest.raises(AccessError):
                at(server).read(KEY)
    assert len(server.requests) == 3


@pytest.mark.parametrize("ask", [S3Backend.exists, lambda backend: backend.info(KEY)])
def test_who_is_down_is_not_asked_for_the_reason(
    ask: Callable[[S3Backend], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "TRIES", 2)
    for answer in (NOTHING, Answer(503)):
        with scripted(answer, answer) as server, pytest.raises(AccessError):
            ask(at(server))
        assert len(server.requests) == 2


def test_a_body_that_is_damaged_on_the_way_is_sent_again(gateway: Ceph) -> None:
    bucket = gateway.bucket()
    data = os.urandom(100_000)
    with faulty(gateway.endpoint, Nth(Fault.FLIPPED_SENT, 0)) as endpoint:
        backend = at(endpoint, bucket)
        backend.write(KEY, data)
    assert backend.traffic.requests == 2
    assert at(gateway, bucket).read(KEY) == data


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content-Range": "bytes 2-4/10"}, b"234"),  # less than was asked for
        ({"Content-Range": "bytes 0-4/10"}, b"01234"),  # another place
    ],
)
def test_a_range_that_is_not_the_one_asked_for_is_asked_again(
    headers: dict[str, str], body: bytes
) -> None:
    right = Answer(206, b"23456", {"Content-Range": "bytes 2-6/10"})
    with scripted(Answer(206, body, headers), right) as server:
        assert at(server).read(KEY, 2, 5) == b"23456"
    assert server.requests[0].headers["range"] == "bytes=2-6"


def test_the_last_no_bytes_of_a_file_are_none(moto_server: Moto) -> None:
    backend = at(moto_server, moto_server.bucket())
    backend.write(KEY, b"data")
    assert backend.tail(KEY, 0) == (b"", 4)
    assert backend.tail(KEY, 3) == (b"ata", 4)
    with pytest.raises(KeyError):
        backend.tail("none", 0)


def test_a_server_without_ranges_is_cut_to_size() -> None:
    with scripted(Answer(200, b"0123456789")) as server:
        assert at(server).read(KEY, 2, 3) == b"234"


ENDLESS = bytes(40 * MIB)
READS: dict[str, Callable[[S3Backend], object]] = {
    "read": lambda backend: backend.read(KEY, 2, 3),
    "tail": lambda backend: backend.tail(KEY, 3)[0],
}


@pytest.mark.parametrize("way", READS)
@pytest.mark.parametrize("headers", [{}, {"Content-Range": "bytes 2-4/5"}])
def test_what_nobody_asked_for_takes_no_memory(way: str, headers: dict[str, str]) -> None:
    """Where a server sends everything, or more than it says."""
    wrong = Answer(206 if headers else 200, ENDLESS, headers)
    right = Answer(206, bytes(3), {"Content-Range": "bytes 2-4/5"})
    with scripted(wrong, right) as server:
        backend = at(server)
        backend.fs  # noqa: B018  # the libraries' own memory is not what is measured
        tracemalloc.start()
        try:
            assert READS[way](backend) == bytes(3)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < len(ENDLESS) // 2


def test_a_server_that_sends_everything_is_not_waited_for() -> None:
    cut = Answer(200, b"0123456789", {"Content-Length": "1000"}, cut=10)
    with scripted(cut) as server:
        assert at(server).read(KEY, 2, 3) == b"234"


# --- sending -------------------------------------------------------------------------------------


@given(st.integers(1, 5 * 2**40))
def test_a_stream_takes_bounded_memory_however_large_it_is(size: int) -> None:
    part, jobs = max(s3parts.part_sizes(size)), s3parts.parts_at_once(size)
    assert 1 <= jobs <= s3parts.PARTS_AT_ONCE
    assert jobs * part <= max(part, s3parts.STREAM_BYTES)
    assert jobs == s3parts.PARTS_AT_ONCE or size > 300 * 2**30


@given(st.integers(1, 5 * 2**40))
def test_parts_are_neither_too_small_nor_too_many(size: int) -> None:
    sizes = s3parts.part_sizes(size)
    assert sum(sizes) == size
    assert len(sizes) <= 10_000
    assert all(5 * MIB <= part <= 5 * 2**30 for part in sizes[:-1])
    assert len(set(sizes[:-1])) <= 1


def named(data: bytes) -> str:
    digest = sha1(data, usedforsecurity=False).hexdigest()
    return f"packs/{digest}.zip"


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3parts, "PART_BYTES", 5 * MIB)


DATA = os.urandom(12 * MIB + 345)
TO_SEND = {
    "send": lambda backend, key, data: backend.send(io.BytesIO(data), key, len(data), lambda: True),
    "publish": lambda backend, key, data: backend.publish(staged(backend, data), key),
}


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("way", TO_SEND)
@pytest.mark.parametrize("limit", [1, 100 * MIB])
def test_large_files_arrive_whole(gateway: Ceph, way: str, limit: int) -> None:
    backend = at(gateway, gateway.bucket(), put_limit=str(limit))
    TO_SEND[way](backend, KEY, DATA)
    assert backend.read(KEY) == DATA
    before = backend.traffic.bytes_sent
    TO_SEND[way](backend, KEY, DATA)  # what is there is not sent again
    assert backend.traffic.bytes_sent == before
    assert not uploads(gateway, backend)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("fault", [Fault.ERROR, Fault.CUT, Fault.LOST, Fault.FLIPPED_SENT])
@pytest.mark.parametrize("number", [5, 6, 7])  # head, bucket, two listings, start, three parts, end
def test_one_part_is_sent_again_not_the_file(gateway: Ceph, fault: Fault, number: int) -> None:
    bucket = gateway.bucket()
    with faulty(gateway.endpoint, Nth(fault, number)) as endpoint:
        backend = at(endpoint, bucket, put_limit="1")
        assert backend.send(io.BytesIO(DATA), KEY, len(DATA), lambda: True)
        assert backend.traffic.bytes_sent < len(DATA) + 6 * MIB
    assert at(gateway, bucket).read(KEY) == DATA
    assert not uploads(gateway, backend)


@pytest.mark.usefixtures("small_parts")
def test_a_lost_answer_to_the_completion_is_no_loss(gateway: Ceph) -> None:
    bucket = gateway.bucket()
    with faulty(gateway.endpoint, Nth(Fault.LOST, 8)) as endpoint:
        assert at(endpoint, bucket, put_limit="1").send(
            io.BytesIO(DATA), KEY, len(DATA), lambda: True
        )
    assert at(gateway, bucket).read(KEY) == DATA


STARTED = Answer(200, b"<X><UploadId>u</UploadId></X>")
WHEN = {"Last-Modified": "Sat, 03 Jan 2026 04:05:06 GMT"}


def test_a_file_of_which_no_time_is_told_is_young() -> None:
    with scripted(Answer(200, b"data")) as server:
        info = at(server).info(KEY)
    assert info is not None
    assert info.size == 4
    assert abs(info.modified - time.time()) < 60


#: There is no such file, but a bucket; and nothing that was begun, neither of this file nor of others.
LISTED = Answer(200, b"<ListBucketResult><Name>bucket</Name></ListBucketResult>")
NOTHING_THERE = (HEAD_404, LISTED, *[Answer(200, b"<X/>")] * 2)


@pytest.mark.parametrize("there", [HEAD_404, Answer(200, b"x")])
@pytest.mark.parametrize("said", [b"", b"<X/>"])
def test_a_file_that_is_only_said_to_be_finished_is_not_believed(
    there: Answer, said: bytes
) -> None:
    head = dataclasses.replace(there, headers=WHEN)
    part = Answer(200, headers={"ETag": f'"{md5(b"xx").hexdigest()}"'})
    with scripted(*NOTHING_THERE, STARTED, part, Answer(200, said), head) as server:
        backend = at(server, put_limit="1")
        with pytest.raises(AccessError, match="it is not there"):
            backend.send(io.BytesIO(b"xx"), KEY, 2, lambda: True)
    assert server.asked()[-1] == "HEAD"  # and what was sent is not given up


def test_parts_that_the_server_forgot_are_told() -> None:
    answers = (*NOTHING_THERE, STARTED, refusal(404, "NoSuchUpload"), HEAD_404)
    with scripted(*answers) as server:
        backend = at(server, put_limit="1")
        with pytest.raises(AccessError, match="forgot the parts"):
            backend.send(io.BytesIO(b"xx"), KEY, 2, lambda: True)
    assert server.answers == []


class Breaks(io.BytesIO):
    """A stream that ends in an error."""

    def __init__(self, data: bytes, error: BaseException) -> None:
        super().__init__(data)
        self.error = error

    def read(self, size: int | None = -1) -> bytes:
        if not (data := super().read(size)):
            raise self.error
        return data


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("limit", [1, 100 * MIB])
@pytest.mark.parametrize("wrong", ["content", "short", "long"])
def test_what_is_wrong_gets_no_name_and_leaves_nothing(
    gateway: Ceph, limit: int, wrong: str
) -> None:
    backend = at(gateway, gateway.bucket(), put_limit=str(limit))
    size = len(DATA) + {"content": 0, "short": 1, "long": -1}[wrong]
    assert not backend.send(io.BytesIO(DATA), KEY, size, lambda: wrong != "content")
    assert backend.info(KEY) is None
    assert not uploads(gateway, backend)


@pytest.mark.parametrize("limit", [1, 100 * MIB])
@pytest.mark.parametrize(
    ("error", "seen"),
    [(OSError(5, "bad disk"), DsaError), (KeyboardInterrupt(), KeyboardInterrupt)],
    ids=["disk", "ctrl-C"],
)
def test_what_had_not_begun_to_arrive_leaves_nothing(
    gateway: Ceph, limit: int, error: BaseException, seen: type[BaseException]
) -> None:
    backend = at(gateway, gateway.bucket(), put_limit=str(limit))
    source: BinaryIO = Breaks(DATA, error)
    with pytest.raises(seen):
        backend.send(source, KEY, len(DATA) + 5 * MIB, lambda: True)
    assert backend.info(KEY) is None
    assert not uploads(gateway, backend)


def test_parts_are_given_up_when_one_is_refused(gateway: Ceph) -> None:
    class Refused(S3Backend):
        def _once(self, method: str, **more: Any) -> dict[str, Any]:
            if method == "upload_part":
                raise AccessError("refused")
            return super()._once(method, **more)

    backend = Refused(
        f"s3://{gateway.bucket()}", Options({"endpoint": gateway.endpoint, "put_limit": "1"})
    )
    with pytest.raises(AccessError, match="refused"):
        backend.send(io.BytesIO(b"xx"), KEY, 2, lambda: True)
    assert not uploads(gateway, backend)


def uploads(gateway: Ceph, backend: S3Backend) -> list[object]:
    """Return the uploads in parts that the server has not forgotten."""
    bucket = backend.url.removeprefix("s3://").partition("/")[0]
    found: list[object] = gateway.client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    return found


# --- going on with what was broken off ------------------------------------------------------------


def parts_there(server: Moto | Ceph, backend: S3Backend) -> list[int]:
    """Return the numbers of the parts of files that nobody finished."""
    bucket = backend.url.removeprefix("s3://").partition("/")[0]
    client = Ceph(server.endpoint).client
    try:
        found = client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
        pages = [
            client.list_parts(Bucket=bucket, Key=one["Key"], UploadId=one["UploadId"])
            for one in found
        ]
    finally:
        client.close()
    return [part["PartNumber"] for page in pages for part in page.get("Parts", [])]


class Waits(io.BytesIO):
    """A stream that calls somebody before it gives what lies behind a place."""

    def __init__(self, data: bytes, place: int, call: Callable[[], object]) -> None:
        super().__init__(data)
        self.place = place
        self.call = call

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() >= self.place:
            self.place = len(self.getvalue()) + 1
            self.call()
        return super().read(size)


def broken_off(
    server: Moto | Ceph, backend: S3Backend, data: bytes = DATA, error: BaseException | None = None
) -> None:
    """Send two parts of 5 MiB, and end in an error when they have arrived."""

    def breaks() -> None:
        wait_until(lambda: len(parts_there(server, backend)) == 2)
        raise error or OSError(5, "bad disk")

    source: BinaryIO = Waits(data, 10 * MIB, breaks)
    with pytest.raises(type(error) if error else DsaError):
        backend.send(source, KEY, len(data), lambda: True)


def wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


SERVERS = pytest.mark.parametrize("server", ["moto_server", "gateway"])


@SERVERS
@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("way", TO_SEND)
@pytest.mark.parametrize("error", [None, KeyboardInterrupt()], ids=["disk", "ctrl-C"])
def test_what_was_broken_off_is_gone_on_with(
    request: pytest.FixtureRequest, server: str, way: str, error: BaseException | None
) -> None:
    place: Moto | Ceph = request.getfixturevalue(server)
    bucket = place.bucket()
    broken_off(place, at(place, bucket, put_limit="1"), error=error)
    again = at(place, bucket, put_limit="1")
    TO_SEND[way](again, KEY, DATA)
    assert again.traffic.bytes_sent < len(DATA) - 10 * MIB + 1000
    assert again.read(KEY) == DATA
    assert not parts_there(place, again)


@SERVERS
def test_a_killed_process_had_sent_what_it_had_sent(
    request: pytest.FixtureRequest, server: str, tmp_path: Path
) -> None:
    place: Moto | Ceph = request.getfixturevalue(server)
    bucket = place.bucket()
    data = os.urandom(200 * MIB)
    (tmp_path / "file").write_bytes(data)
    program = f"""
        import time
        from dsa.remotes.options import Options
        from dsa.remotes.s3 import S3Backend

        class Stops:
            def __init__(self, file):
                self.file = file
            def read(self, size):
                if self.file.tell() >= {112 * MIB}:
                    time.sleep(600)
                return self.file.read(size)

        backend = S3Backend("s3://{bucket}/below", Options({{"endpoint": {place.endpoint!r}}}))
        with open({str(tmp_path / "file")!r}, "rb") as file:
            backend.send(Stops(file), {KEY!r}, {len(data)}, lambda: True)
    """
    backend = at(place, bucket)
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)]) as process:
        try:
            wait_until(lambda: len(parts_there(place, backend)) == 7)
        finally:
            process.kill()
    with (tmp_path / "file").open("rb") as file:
        assert backend.send(file, KEY, len(data), lambda: True)
    assert backend.traffic.bytes_sent < len(data) - 112 * MIB + 10_000
    assert md5(backend.read(KEY)).digest() == md5(data).digest()
    assert not parts_there(place, backend)


@pytest.mark.usefixtures("small_parts")
def test_a_network_that_fails_loses_no_part_that_has_arrived(
    gateway: Ceph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "TRIES", 2)
    bucket = gateway.bucket()
    with faulty(gateway.endpoint, Since(Fault.CUT, 7)) as endpoint:
        backend = at(endpoint, bucket, put_limit="1")
        with pytest.raises(AccessError, match="no connection"):
            backend.send(io.BytesIO(DATA), KEY, len(DATA), lambda: True)
    there = parts_there(gateway, backend)
    assert len(there) == 2
    again = at(gateway, bucket, put_limit="1")
    assert again.send(io.BytesIO(DATA), KEY, len(DATA), lambda: True)
    assert again.traffic.bytes_sent < 5 * MIB + 1000
    assert again.read(KEY) == DATA


@SERVERS
@pytest.mark.usefixtures("small_parts")
def test_parts_of_other_bytes_are_replaced(request: pytest.FixtureRequest, server: str) -> None:
    place: Moto | Ceph = request.getfixturevalue(server)
    bucket = place.bucket()
    other = bytes([DATA[0] ^ 1]) + DATA[1:]
    broken_off(place, at(place, bucket, put_limit="1"), other)
    again = at(place, bucket, put_limit="1")
    assert again.send(io.BytesIO(DATA), KEY, len(DATA), lambda: True)
    assert len(DATA) - 5 * MIB <= again.traffic.bytes_sent < len(DATA) - 5 * MIB + 1000
    assert again.read(KEY) == DATA


@pytest.mark.usefixtures("small_parts")
def test_parts_that_are_cut_otherwise_are_left_alone(
    gateway: Ceph, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = gateway.bucket()
    broken_off(gateway, at(gateway, bucket, put_limit="1"))
    monkeypatch.setattr(s3parts, "PART_BYTES", 6 * MIB)
    again = at(gateway, bucket, put_limit="1")
    assert again.send(io.BytesIO(DATA), KEY, len(DATA), lambda: True)
    assert again.read(KEY) == DATA
    assert parts_there(gateway, again) == [1, 2]


@pytest.mark.usefixtures("small_parts")
def test_parts_are_given_up_where_the_rest_shows_that_the_bytes_are_wrong(gateway: Ceph) -> None:
    bucket = gateway.bucket()
    broken_off(gateway, at(gateway, bucket, put_limit="1"))
    again = at(gateway, bucket, put_limit="1")
    assert not again.send(io.BytesIO(DATA), KEY, len(DATA), lambda: False)
    assert again.info(KEY) is None
    assert not uploads(gateway, again)


@pytest.mark.usefixtures("small_parts")
def test_who_is_overtaken_in_the_middle_finds_the_file(gateway: Ceph) -> None:
    bucket = gateway.bucket()
    slow, quick = (at(gateway, bucket, put_limit="1") for _ in range(2))

    def overtakes() -> None:
        wait_until(lambda: len(parts_there(gateway, slow)) == 2)
        assert quick.send(io.BytesIO(DATA), KEY, len(DATA), lambda: True)

    assert slow.send(Waits(DATA, 10 * MIB, overtakes), KEY, len(DATA), lambda: True)
    assert quick.traffic.bytes_sent < 5 * MIB
    assert quick.read(KEY) == DATA
    assert not parts_there(gateway, quick)


@pytest.mark.usefixtures("small_parts")
def test_who_is_given_up_in_the_middle_by_another_with_wrong_bytes_is_told(gateway: Ceph) -> None:
    bucket = gateway.bucket()
    mine, wrong = (at(gateway, bucket, put_limit="1") for _ in range(2))

    def gives_up() -> None:
        wait_until(lambda: len(parts_there(gateway, mine)) == 2)
        assert not wrong.send(io.BytesIO(bytes(len(DATA))), KEY, len(DATA), lambda: False)

    with pytest.raises(AccessError, match="forgot the parts"):
        mine.send(Waits(DATA, 10 * MIB, gives_up), KEY, len(DATA), lambda: True)
    assert mine.info(KEY) is None


@pytest.mark.usefixtures("small_parts")
def test_several_at_once_go_on_with_the_same_parts(gateway: Ceph) -> None:
    bucket = gateway.bucket()
    broken_off(gateway, at(gateway, bucket, put_limit="1"))

    def send(_: int) -> bool:
        return at(gateway, bucket, put_limit="1").send(
            io.BytesIO(DATA), KEY, len(DATA), lambda: True
        )

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(send, range(4)))
    backend = at(gateway, bucket)
    assert backend.read(KEY) == DATA


LACKING = [refusal(501, "NotImplemented"), refusal(403, "AccessDenied"), refusal(500, "Oh")]
BEGUN = Answer(
    200,
    f"<X><Upload><Key>below/{KEY}</Key><UploadId>u</UploadId>"
    "<Initiated>2026-01-02T03:04:05.678Z</Initiated></Upload></X>".encode(),
)


@pytest.mark.parametrize("lacking", LACKING, ids=str)
@pytest.mark.parametrize("there", [(), (BEGUN,)], ids=["files", "parts"])
def test_a_server_that_does_not_list_what_was_begun_is_sent_all_of_it(
    lacking: Answer, there: tuple[Answer, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "TRIES", 1)
    done = Answer(200, b"<X/>"), Answer(200, b"xx", WHEN)
    bucket = LISTED
    first = (HEAD_404, bucket, *there, lacking, STARTED, CREATED, *done)
    with scripted(*first, HEAD_404, STARTED, CREATED, *done) as server:
        backend = at(server, put_limit="1")
        assert backend.send(io.BytesIO(b"xx"), KEY, 2, lambda: True)
        assert backend.send(io.BytesIO(b"xx"), KEY, 2, lambda: True)  # and is not asked again
    assert server.answers == []
    assert backend.traffic.bytes_sent < 1000


def test_where_parts_cannot_be_found_again_they_are_given_up() -> None:
    answers = (*NOTHING_THERE[:2], LACKING[0], STARTED, CREATED, Answer(204))
    with scripted(*answers) as server:
        backend = at(server, put_limit="1")
        with pytest.raises(DsaError):
            backend.send(Breaks(b"xx", OSError(5, "bad disk")), KEY, 2, lambda: True)
    assert server.asked()[-1] == "DELETE"


def test_a_file_that_the_server_refuses_to_finish_is_begun_anew_the_next_time() -> None:
    etag = Answer(200, headers={"ETag": f'"{md5(b"xx").hexdigest()}"'})
    refused = refusal(400, "InvalidPart")
    with (
        scripted(*NOTHING_THERE, STARTED, etag, refused, Answer(204)) as server,
        pytest.raises(AccessError, match="InvalidPart"),
    ):
        at(server, put_limit="1").send(io.BytesIO(b"xx"), KEY, 2, lambda: True)
    assert server.asked()[-1] == "DELETE"


def test_many_parts_are_listed_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3parts, "PART_BYTES", 2)

    def part(number: int, data: bytes, more: str) -> Answer:
        digest = md5(data).hexdigest()
        return Answer(
            200,
            f"<X><Part><PartNumber>{number}</PartNumber><Size>{len(data)}</Size>"
            f'<ETag>"{digest}"</ETag></Part>{more}</X>'.encode(),
        )

    first = "<IsTruncated>true</IsTruncated><NextPartNumberMarker>1</NextPartNumberMarker>"
    pages = part(1, b"ab", first), part(2, b"c", "<IsTruncated>false</IsTruncated>")
    done = Answer(200, b"<X/>"), Answer(200, b"abc", WHEN)
    with scripted(*NOTHING_THERE[:2], BEGUN, *pages, Answer(200, b"<X/>"), *done) as server:
        assert at(server, put_limit="1").send(io.BytesIO(b"abc"), KEY, 3, lambda: True)
    assert server.asked() == ["HEAD", "GET", "GET", "GET", "GET", "GET", "POST", "HEAD"]
    assert "part-number-marker=1" in server.requests[4].path
    for data in (b"ab", b"c"):
        assert md5(data).hexdigest().encode() in server.requests[-2].body


def test_what_was_left_long_ago_is_forgotten_but_nothing_that_somebody_works_at(
    gateway: Ceph, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = gateway.bucket()
    client = gateway.client
    names = {
        key: client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
        for key in ("below/packs/old", "below/packs/with a part", "below/refs/old", "packs/other")
    }

    def send(key: str) -> None:
        at(gateway, bucket, put_limit="1").send(io.BytesIO(b"xx"), key, 2, lambda: True)

    def left() -> set[str]:
        found = client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
        return {one["Key"] for one in found}

    send("packs/a")
    assert left() == set(names)
    monkeypatch.setattr(s3unfinished, "LEFT", timedelta(seconds=1))
    time.sleep(2.1)
    client.upload_part(
        Bucket=bucket,
        Key="below/packs/with a part",
        UploadId=names["below/packs/with a part"],
        PartNumber=1,
        Body=b"x",
    )
    send("packs/b")
    assert left() == set(names) - {"below/packs/old"}


@pytest.mark.parametrize("way", ["parts from a stream", "one file from the disk"])
def test_memory_is_bounded_whatever_is_sent(gateway: Ceph, tmp_path: Path, way: str) -> None:
    size = 256 * MIB
    program = f"""
        import resource, sys
        from pathlib import Path
        from dsa.remotes.connect import connect

        class Zeros:
            left = {size}
            def read(self, size):
                size = min(size, self.left)
                self.left -= size
                return bytes(size)

        def peak():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

        limit = {16 * MIB if way.startswith("parts") else 300 * MIB}
        place = connect({f"s3://{gateway.bucket()}"!r},
            {{"endpoint": {gateway.endpoint!r}, "put_limit": str(limit)}})
        place.write("a", b"x")
        before = peak()
        if limit < {size}:
            assert place.send(Zeros(), {KEY!r}, {size}, lambda: True)
        else:
            path = Path({str(tmp_path / "file")!r})
            with path.open("wb") as file:
                file.truncate({size})
            place.publish(path, {KEY!r})
        assert place.info({KEY!r}).size == {size}
        print(peak() - before)
    """
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < (140 if way.startswith("parts") else 40)


# --- checksums -----------------------------------------------------------------------------------


def test_a_file_named_by_its_sha1_is_sent_with_it_and_an_index_is_not() -> None:
    pack, index = named(b"data"), f"index/{'0' * 40}.parquet"
    with scripted(CREATED, HEAD_404, CREATED, HEAD_404, CREATED) as server:
        backend = at(server)
        backend.write("a", b"")
        for key in (pack, index):
            backend.publish(staged(backend, b"data"), key)
    declared = [request.headers.get("x-amz-checksum-sha1") for request in server.requests]
    expected = base64.b64encode(sha1(b"data", usedforsecurity=False).digest()).decode()
    assert declared == [None, None, expected, None, None]


def test_a_server_that_knows_no_checksums_is_sent_none() -> None:
    with scripted(
        CREATED, HEAD_404, refusal(501, "NotImplemented"), CREATED, HEAD_404, CREATED
    ) as server:
        backend = at(server)
        backend.write("a", b"")
        for data in (b"data", b"more"):
            backend.publish(staged(backend, data), named(data))
    assert ["x-amz-checksum-sha1" in request.headers for request in server.requests] == [
        *(False, False, True, False, False, False)
    ]


def test_a_server_that_keeps_a_sha1_attests_it(moto_server: Moto) -> None:
    backend = at(moto_server, moto_server.bucket())
    digest = sha1(b"data", usedforsecurity=False).digest()
    assert isinstance(backend, Attesting)
    backend.publish(staged(backend, b"data"), named(b"data"))
    assert backend.attested(named(b"data")) == digest
    backend.write_attested("a", b"data", digest)
    assert backend.attested("a") == digest
    backend.write("b", b"data")
    assert backend.attested("b") is None
    with pytest.raises(KeyError):
        backend.attested("none")


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x-amz-checksum-sha1": base64.b64encode(b"d" * 20).decode()}, b"d" * 20),
        (
            {
                "x-amz-checksum-sha1": base64.b64encode(b"d" * 20).decode(),
                "x-amz-checksum-type": "COMPOSITE",
            },
            None,
        ),
        ({"x-amz-checksum-sha1": base64.b64encode(b"d" * 20).decode() + "-3"}, None),
        ({"x-amz-checksum-sha1": "%%%"}, None),
        ({}, None),
    ],
)
def test_only_the_sha1_of_a_whole_file_is_one(
    headers: dict[str, str], expected: bytes | None
) -> None:
    with scripted(Answer(200, headers=headers)) as server:
        assert at(server).attested(KEY) == expected
    assert server.requests[0].headers["x-amz-checksum-mode"] == "ENABLED"


def test_a_wrong_sha1_that_is_refused_is_told_at_once() -> None:
    with (
        scripted(refusal(400, "BadDigest")) as server,
        pytest.raises(DsaError, match="refused with this SHA-1"),
    ):
        at(server).write_attested("a", b"data", bytes(20))
    assert len(server.requests) == 1


@pytest.mark.parametrize("busy", [refusal(429, "SlowDown"), refusal(400, "RequestTimeout")])
def test_a_server_that_is_busy_does_not_refuse_a_sha1(busy: Answer) -> None:
    with scripted(*[busy] * retry.TRIES) as server, pytest.raises(AccessError):
        at(server).write_attested("a", b"data", bytes(20))
    assert len(server.requests) > 1


def test_a_listing_gives_the_md5_of_what_was_sent_whole(
    gateway: Ceph, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = at(gateway, gateway.bucket(), put_limit="3")
    backend.write("a", b"data")
    backend.publish(staged(backend, b"data"), "parts")
    infos = {info.key: info for info in backend.list("")}
    assert infos["a"].md5 == md5(b"data").digest()
    assert infos["parts"].md5 is None
    assert infos["a"] == backend.info("a")


# --- listing -------------------------------------------------------------------------------------


def page(key: str, token: str = "") -> Answer:
    more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>"
    return Answer(
        200,
        f"<ListBucketResult><Contents><Key>below/{key}</Key><Size>1</Size><ETag>x</ETag>"
        "<LastModified>2026-01-02T03:04:05.678Z</LastModified></Contents>"
        f"{more if token else ''}</ListBucketResult>".encode(),
    )


def test_a_listing_goes_on_page_by_page_as_it_is_read() -> None:
    with scripted(page("a", "next"), refusal(503, "SlowDown"), page("b")) as server:
        infos = at(server).list("")
        assert next(infos).key == "a"
        assert len(server.requests) == 1
        assert [info.key for info in infos] == ["b"]
    assert "continuation-token=next" in server.requests[2].path


def test_a_marker_of_a_folder_is_no_file(moto_server: Moto) -> None:
    backend = at(moto_server, moto_server.bucket())
    backend.write("refs/", b"")
    backend.write("refs/a", b"")
    assert [info.key for info in backend.list("")] == ["refs/a"]
    assert list(backend.children("refs/")) == ["a"]


# --- copies that the server makes ----------------------------------------------------------------


@pytest.mark.parametrize("server", ["moto_server", "gateway"])
def test_the_server_copies_by_itself(request: pytest.FixtureRequest, server: str) -> None:
    place: Moto | Ceph = request.getfixturevalue(server)
    source, target = at(place, place.bucket()), at(place, place.bucket())
    data = os.urandom(MIB)
    source.write("a ä", data)
    assert target.same_endpoint(source)
    target.copy_from(source, "a ä")
    assert target.traffic.bytes_sent == 0
    assert target.traffic.bytes_received + source.traffic.bytes_received < 2000
    assert target.read("a ä") == data
    with pytest.raises(KeyError):
        target.copy_from(source, "none")


def test_the_server_copies_large_files_in_parts(
    gateway: Ceph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "COPY_LIMIT_BYTES", 6 * MIB)
    monkeypatch.setattr(s3, "COPY_PART_BYTES", 5 * MIB)
    source, target = at(gateway, gateway.bucket()), at(gateway, gateway.bucket())
    source.write(KEY, DATA)
    target.copy_from(source, KEY)
    assert target.read(KEY) == DATA
    assert not uploads(gateway, target)


def test_a_server_that_is_not_there_is_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "TRIES", 1)
    with pytest.raises(AccessError, match="no connection") as caught:
        at("http://127.0.0.1:1").read(KEY)
    assert str(caught.value).endswith(f"/{KEY}: Connection refused")
    assert str(caught.value).count("127.0.0.1:1") == 1
    assert caught.value.is_outage


def test_two_servers_are_two_endpoints() -> None:
    here, there = at("http://127.0.0.1:1"), at("http://127.0.0.1:2")
    assert not here.same_endpoint(there)
    one, two = (S3Backend("s3://b", Options({"region": r})) for r in ("eu-west-1", "us-west-2"))
    assert one.same_endpoint(two)


# --- traffic, and the end ------------------------------------------------------------------------


def test_what_is_asked_past_the_backend_is_counted_too(moto_server: Moto) -> None:
    backend = at(moto_server, moto_server.bucket())
    backend.fs.pipe_file(backend.path("a"), b"x" * 1000)
    assert backend.fs.cat_file(backend.path("a")) == b"x" * 1000
    traffic = backend.traffic
    assert (traffic.bytes_sent, traffic.bytes_received) == (1000, 1000)
    assert traffic.requests >= 2


def test_a_process_ends_without_a_word(moto_server: Moto) -> None:
    program = f"""
        import threading
        from dsa.remotes.connect import connect
        place = connect("s3://{moto_server.bucket()}", {{"endpoint": {moto_server.endpoint!r}}})
        ask = lambda: (place.write("a", b"x"), place.read("a"), list(place.list("")))
        threads = [threading.Thread(target=ask) for _ in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        other = connect("s3://{moto_server.bucket()}", {{"endpoint": {moto_server.endpoint!r}}})
        other.exists()
        del other
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


class Nth(Plan):
    """A plan that breaks one request, counted from 0."""

    def __init__(self, fault: Fault, number: int) -> None:
        super().__init__(0)
        self.fault = fault
        self.number = number

    def draw(self) -> tuple[Fault | None, float]:
        fault, _ = super().draw()
        return (self.fault if self.requests - 1 == self.number else fault), 0.5


class Since(Plan):
    """A plan that breaks every request from one on, counted from 0."""

    def __init__(self, fault: Fault, number: int) -> None:
        super().__init__(0)
        self.fault = fault
        self.number = number

    def draw(self) -> tuple[Fault | None, float]:
        fault, _ = super().draw()
        return (self.fault if self.requests > self.number else fault), 0.5


# --- which place it is ----------------------------------------------------------------------------


def test_a_place_is_its_server_and_its_user_too(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    def place(**options: str) -> str:
        return connect("s3://bucket/store", options).place

    (home / "profiles").write_text(
        "[profile lab]\nendpoint_url = http://lab\n[profile same]\nendpoint_url = http://lab\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(home / "profiles"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(home / "none"))
    aws = place()
    assert place(region="eu-central-1", jobs="3") == aws
    assert place(endpoint="https://s3.eu-central-1.amazonaws.com") == aws
    found = {aws, place(region="cn-north-1"), place(anonymous="true"), place(endpoint="http://x"),
             place(profile="lab"), place(profile="same")}  # fmt: skip
    assert len(found) == 6
    monkeypatch.setenv("AWS_PROFILE", "lab")
    assert place() == place(profile="lab")
    monkeypatch.setenv("AWS_PROFILE", "none")
    with pytest.raises(DsaError, match="none"):
        place()


def test_a_web_site_is_no_s3_whatever_is_asked() -> None:
    page = Answer(404, b"<html><p>Welcome</html>")
    asks: list[Callable[[Any], object]] = [
        lambda backend: backend.exists(),
        lambda backend: list(backend.list("refs/")),
        lambda backend: list(backend.children("")),
        lambda backend: backend.read(KEY),
        lambda backend: backend.info(KEY),
    ]
    for ask in asks:
        with (
            scripted(page, page) as server,
            pytest.raises(AccessError, match="does not speak S3") as caught,
        ):
            ask(at(server))
        assert server.endpoint in str(caught.value)
        assert not caught.value.is_outage
    whole = Answer(200, b"<html><p>Welcome</p></html>")
    with scripted(whole) as server, pytest.raises(AccessError, match="does not speak S3"):
        at(server).exists()
