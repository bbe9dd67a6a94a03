"""A store behind a web server: what HTTP does to it, and what servers get wrong."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from uuid import uuid4

import pytest
from servers.nginx import Nginx, nginx
from servers.proxy import Fault, Plan, faulty
from servers.scripted import NOTHING, Answer, Scripted, scripted

import dsa
from dsa.cas import history, layout, listings
from dsa.cas.far import Tailed
from dsa.cas.refs import Ref
from dsa.errors import AccessError, DamageError, UsageError
from dsa.remotes import retry
from dsa.remotes.connect import connect
from dsa.remotes.http import HttpBackend
from dsa.remotes.listed import Listed
from dsa.remotes.memory import MemoryBackend
from dsa.remotes.options import Options

KEY = "packs/0123.zip"
DATA = b"0123456789"
ENTRY = history.LogState("uuid", "A <a@b>", "2026-01-01T00:00:00Z", None).encode()


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(retry, "LONGEST_WAIT_SECONDS", 0.05)


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted() as server:
        yield server


def backend_of(server: Scripted, *answers: Answer) -> HttpBackend:
    server.answers[:] = answers
    return HttpBackend(f"{server.endpoint}/store", Options({}))


def part(data: bytes, start: int, total: int) -> Answer:
    headers = {"Content-Range": f"bytes {start}-{start + len(data) - 1}/{total}"}
    return Answer(206, data, headers)


# --- requests ------------------------------------------------------------------------------------


def test_every_other_character_is_percent_encoded(server: Scripted) -> None:
    backend = backend_of(server, Answer(body=b"x"))
    assert backend.read("refs/a~b/@1.0+b_-ä /?#[%41]") == b"x"
    (request,) = server.requests
    assert request.path == "/store/refs/a~b/%401.0%2Bb_-%C3%A4%20/%3F%23%5B%2541%5D"
    assert request.headers["accept-encoding"] == "identity"
    assert "range" not in request.headers


def test_the_folder_of_a_url_may_be_written_either_way(web: Nginx) -> None:
    name = f"a b+ä{uuid4().hex}"
    (web.root / name).mkdir()
    (web.root / name / "f").write_bytes(b"x")
    for text in (name, name.replace(" ", "%20").replace("+", "%2B"), f"{name}/"):
        assert connect(f"{web.url}/{text}").read("f") == b"x"


@pytest.mark.parametrize(
    "url", ["http://host/a?b=c", "http://host/a#b", "http:///a", "https://me@host/a"]
)
def test_a_url_that_is_no_folder_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        connect(url)


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(UsageError) as caught:
        HttpBackend("https://me:secret@host/a", Options({}))
    assert "secret" not in str(caught.value)
    assert "https://host/a" in str(caught.value)


def test_name_and_password_come_from_netrc(server: Scripted, home: Path) -> None:
    (home / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    (home / ".netrc").chmod(0o600)
    assert backend_of(server, Answer(body=b"x")).read("f") == b"x"
    assert server.requests[0].headers["authorization"] == "Basic bWU6c2VjcmV0"


def test_a_file_that_is_packed_on_the_way_is_refused(server: Scripted) -> None:
    backend = backend_of(server, Answer(200, b"\x1f\x8b", {"Content-Encoding": "gzip"}))
    with pytest.raises(AccessError, match="gzip") as caught:
        backend.read(KEY, 0, 5)
    assert caught.value.hint


def test_a_server_that_would_pack_does_not(tmp_path: Path) -> None:
    more = "gzip on; gzip_types *; gzip_min_length 1; gzip_proxied any;"
    with nginx(tmp_path / "own", tmp_path / "root", more=more) as server:
        data = json.dumps({"key": "value" * 1000}).encode()
        (tmp_path / "root/dsa.json").write_bytes(data)
        backend = connect(server.url)
        assert backend.read("dsa.json") == data
        assert backend.read("dsa.json", 5, 7) == data[5:12]
        info = backend.info("dsa.json")
        assert info is not None
        assert info.size == len(data)


# --- ranges --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [(0, None, DATA), (2, 3, b"234"), (0, 4, b"0123"), (8, 9, b"89"), (3, None, b"3456789"),
     (10, 5, b""), (99, 5, b"")],
)  # fmt: skip
def test_a_server_without_ranges_is_read_right_and_it_is_said(
    server: Scripted,
    start: int,
    length: int | None,
    expected: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend = backend_of(server, Answer(body=DATA), Answer(body=DATA))
    for _ in range(2):
        assert backend.read(KEY, start, length) == expected
    is_noticed = bool(start) or length == 4
    assert caplog.text.count("does not serve parts of files") == is_noticed  # once
    if is_noticed:
        assert backend.traffic.bytes_received == 2 * len(DATA)


def test_what_has_no_more_bytes_than_were_asked_for_is_no_reason_to_complain(
    server: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    assert backend_of(server, Answer(body=DATA)).read(KEY, 0, 10) == DATA
    assert not caplog.text


def test_without_ranges_an_open_file_is_fetched_once(server: Scripted) -> None:
    data = os.urandom(9_000_000)
    backend = backend_of(server, Answer(body=data), Answer(body=data))
    assert backend.read(KEY, 1, 1) == data[1:2]
    with backend.open(KEY) as file:
        file.seek(8_000_000)
        assert file.read(5) == data[8_000_000:8_000_005]
        file.seek(5)
        assert file.read(10) == data[5:15]
    assert server.asked() == ["GET", "GET"]


@pytest.mark.parametrize(
    "answer",
    [
        part(b"012", 0, 10),  # another place
        part(b"2345", 2, 10),  # more
        part(b"23", 2, 10),  # less, and the file goes on
        Answer(206, b"234"),  # no word of where
        Answer(206, b"234", {"Content-Range": "bytes 2-4/*"}),
        Answer(206, b"234", {"Content-Range": "bytes 4-2/10"}),
        Answer(206, b"234", {"Content-Range": "bytes 2-4/3"}),
        Answer(206, b"234", {"Content-Range": "lines 2-4/10"}),
    ],
)
def test_another_range_than_asked_for_is_refused(server: Scripted, answer: Answer) -> None:
    with pytest.raises(AccessError, match="range"):
        backend_of(server, answer).read(KEY, 2, 3)
    assert server.asked() == ["GET"]


def test_a_wrong_range_is_refused_before_its_bytes_are_taken_in(server: Scripted) -> None:
    headers = {"Content-Range": "bytes 0-99/100", "Content-Length": "100"}
    endless = Answer(206, b"0", headers, cut=1)  # the rest would never come
    with pytest.raises(AccessError, match="another range"):
        backend_of(server, endless).read(KEY, 0, 3)
    assert server.asked() == ["GET"]


def test_a_range_that_is_shorter_than_said_is_asked_for_again(server: Scripted) -> None:
    headers = {"Content-Range": "bytes 2-4/10"}
    backend = backend_of(server, Answer(206, b"2", headers), part(b"234", 2, 10))
    assert backend.read(KEY, 2, 3) == b"234"
    assert backend.traffic.requests == 2


def test_the_end_of_a_file_takes_one_request(web: Nginx) -> None:
    name = uuid4().hex
    (web.root / name).mkdir()
    for key, data in (("f", DATA), ("empty", b"")):
        (web.root / name / key).write_bytes(data)
    backend = connect(f"{web.url}/{name}")
    assert isinstance(backend, Tailed)
    before = backend.traffic.requests
    assert backend.tail("f", 3) == (b"789", 10)
    assert backend.tail("f", 99) == (DATA, 10)
    assert backend.tail("empty", 3) == (b"", 0)
    assert backend.traffic.requests == before + 3
    with pytest.raises(KeyError):
        backend.tail("none", 3)


def test_the_end_of_a_file_without_ranges_is_cut_off_here(
    server: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    backend = backend_of(server, Answer(body=DATA), part(b"456", 4, 10))
    assert backend.tail(KEY, 3) == (b"789", 10)
    assert "does not serve parts of files" in caplog.text
    with pytest.raises(AccessError, match="range"):
        backend.tail(KEY, 3)


@pytest.mark.parametrize(
    "answers",
    [
        [Answer(405), part(b"0", 0, 10)],
        [Answer(501), Answer(200, DATA)],
        [Answer(405), Answer(416, b"", {"Content-Range": "bytes */10"})],
    ],
)
def test_where_there_is_no_head_the_size_is_found_by_a_get(
    server: Scripted, answers: list[Answer]
) -> None:
    info = backend_of(server, *answers).info(KEY)
    assert info is not None
    assert (info.size, info.modified) == (10, 0.0)
    assert server.asked() == ["HEAD", "GET"]


# --- errors --------------------------------------------------------------------------------------


def test_what_passes_is_tried_again(server: Scripted) -> None:
    wrong = [NOTHING, Answer(body=DATA, cut=3), *(Answer(status) for status in (503, 429))]
    backend = backend_of(server, *wrong, Answer(body=DATA))
    assert backend.read(KEY) == DATA
    assert len(server.requests) == 5


@pytest.mark.parametrize(
    ("status", "text"), [(401, "login"), (403, "no permission"), (418, "HTTP 418")]
)
def test_what_does_not_pass_is_said_at_once(server: Scripted, status: int, text: str) -> None:
    backend = backend_of(server, Answer(status, b"<html>\n"))
    with pytest.raises(AccessError, match=text) as caught:
        backend.read(KEY)
    assert backend.url in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (caught.value.is_outage, caught.value.is_refusal) == (False, status == 403)
    assert server.asked() == ["GET"]


def test_a_server_that_stays_ill_is_no_access(server: Scripted) -> None:
    backend = backend_of(server, *[Answer(500)] * retry.TRIES)
    with pytest.raises(AccessError, match="HTTP 500") as caught:
        backend.info(KEY)
    assert caught.value.is_outage
    assert len(server.requests) == retry.TRIES


def test_a_page_to_log_in_is_no_store(server: Scripted) -> None:
    page = Answer(200, b"<html>log in</html>", {"Content-Type": "text/html; charset=utf-8"})
    moved = Answer(302, b"", {"Location": "/login"})
    with pytest.raises(AccessError, match="a web page") as caught:
        backend_of(server, moved, page).read("dsa.json")
    assert "log in" in str(caught.value.hint)
    assert [request.path for request in server.requests] == ["/store/dsa.json", "/login"]


def test_a_file_that_was_moved_is_found(server: Scripted) -> None:
    moved = Answer(301, b"", {"Location": "/elsewhere/%40x"})
    assert backend_of(server, moved, part(b"23", 2, 10)).read(KEY, 2, 2) == b"23"
    assert server.requests[1].path == "/elsewhere/%40x"
    assert server.requests[1].headers["range"] == "bytes=2-3"


def test_a_signed_url_that_a_server_leads_to_is_not_repeated(
    server: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "dsa")
    signed = Answer(302, b"", {"Location": "/signed?X-Amz-Signature=SECRET"})
    backend = backend_of(server, signed, Answer(503), signed, Answer(206, DATA))
    with pytest.raises(AccessError, match=f"{KEY}: the server does not say which range") as caught:
        backend.read(KEY, 0, 10)
    assert len(server.requests) == 4
    assert "try 1 failed" in caplog.text
    assert "SECRET" not in caplog.text + str(caught.value)


@pytest.mark.parametrize(
    "location",
    ["ftp://u:SECRET@host/?SECRET", "http://u:SECRET@127.0.0.1:1/?a=SECRET", "http://[?a=SECRET"],
)
def test_nor_is_one_that_leads_nowhere(
    server: Scripted, caplog: pytest.LogCaptureFixture, location: str
) -> None:
    caplog.set_level("INFO", "dsa")
    backend = backend_of(server, *[Answer(302, b"", {"Location": location})] * retry.TRIES)
    with pytest.raises(AccessError) as caught:
        backend.read(KEY, 0, 10)
    assert "SECRET" not in caplog.text + str(caught.value)


def test_nobody_there_and_no_such_host_are_one_line() -> None:
    for url in ("http://127.0.0.1:1/x", "http://host.invalid/x"):
        with pytest.raises(AccessError, match="no connection to") as caught:
            connect(url).read("dsa.json")
        assert "\n" not in str(caught.value)


def test_a_certificate_that_is_not_trusted_is_one_line_and_is_not_tried_again(
    tmp_path: Path,
) -> None:
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl is not installed: apt-get install openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = [program, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    made += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        [*made, "-keyout", key, "-out", certificate], check=True, stderr=subprocess.DEVNULL
    )
    with nginx(tmp_path / "own", tmp_path / "root", certificate=(certificate, key)) as server:
        (tmp_path / "root/f").write_bytes(b"x")
        backend = connect(server.url)
        with pytest.raises(AccessError, match="certificate is not to be trusted") as caught:
            backend.read("f")
        assert "\n" not in str(caught.value)
        assert backend.traffic.requests == 1
        told = [sys.executable, "-c", _READ, server.url]
        trusting = os.environ | {"SSL_CERT_FILE": str(certificate)}
        assert subprocess.run(told, env=trusting, capture_output=True).stdout == b"x"


_READ = """
import sys
from dsa.remotes.connect import connect
sys.stdout.buffer.write(connect(sys.argv[1]).read("f"))
"""


# --- a store -------------------------------------------------------------------------------------


@dataclass
class Site:
    """A store on the local disk, and the same behind a web server."""

    folder: Path
    url: str
    data: Path

    def run(self, *args: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "dsa", "--store", self.url, *args],
            capture_output=True,
            text=True,
            cwd=self.data.parent,
        )
        assert done.returncode == code, done.stderr
        return done

    def wipe(self, *keys: str) -> None:
        for key in keys:
            (self.folder / key).unlink()


def is_same(data: Path, copy: Path) -> bool:
    return subprocess.run(["diff", "-r", "-x", ".dsa", str(data), str(copy)]).returncode == 0


@pytest.fixture
def site(web: Nginx, tmp_path: Path) -> Site:
    name = uuid4().hex
    data = tmp_path / "data"
    (data / "sub").mkdir(parents=True)
    (data / "sub/f").write_text("content")
    (data / "large").write_bytes(os.urandom(700_000))
    store = dsa.open(web.root / name, create=True)
    store.push("some/set", "1.0+b", data)
    (data / "more").write_text("more")
    store.push("some/set", "1.1", data, message="second")
    store.push("some", "1", data / "sub")
    return Site(web.root / name, f"{web.url}/{name}", data)


def test_a_store_behind_a_web_server_is_read_like_any_other(site: Site) -> None:
    assert site.run("datasets").stdout.split() == ["some", "some/set"]
    assert site.run("revisions", "some/set").stdout.split() == ["some/set@1.1", "some/set@1.0+b"]
    assert "second" in site.run("show", "some/set").stdout
    assert site.run("ls", "some/set@1.0+b", "sub").stdout.strip().endswith("f")
    assert "1 added" in site.run("log", "some/set").stdout
    assert site.run("cat", "some/set", "sub/f").stdout == "content"
    copy = site.data.parent / "copy"
    site.run("checkout", "some/set@1.1", copy)
    assert is_same(site.data, copy)
    site.run("verify", "some/set@1.1")
    assert "more" in site.run("diff", "some/set@1.0+b", "some/set@1.1").stdout


def test_a_push_to_it_is_refused_before_anything_is_sent(site: Site) -> None:
    before = sorted(path for path in site.folder.rglob("*"))
    done = site.run("push", "some/set", "2", site.data, code=6)
    assert "HTTP" in done.stderr
    assert sorted(path for path in site.folder.rglob("*")) == before


def test_without_listings_a_full_name_is_found_and_it_is_said(site: Site) -> None:
    site.wipe(
        listings.DATASETS,
        listings.LOCATIONS,
        listings.revisions_key("some"),
        listings.revisions_key("some/set"),
    )
    assert site.run("cat", "some/set@1.1", "sub/f").stdout == "content"
    done = site.run("datasets")
    assert done.stdout == ""
    assert "listing/@datasets.jsonl is missing" in done.stderr
    site.run("show", "some/set", code=3)


def test_a_ref_is_what_its_file_says_and_not_what_a_listing_says(site: Site) -> None:
    ref = site.folder / layout.ref_key("some/set", "1.1")
    withdrawn = Ref.decode(ref.read_bytes())
    ref.write_bytes(Ref(withdrawn.manifest, is_withdrawn=True).encode())
    assert "1.1" in site.run("revisions", "some/set").stdout  # the listing is older
    done = site.run("show", "some/set@1.1", code=3)
    assert "withdrawn" in done.stderr


def test_what_is_listed_is_what_the_store_has(site: Site) -> None:
    far, near = connect(site.url), connect(str(site.folder))
    for prefix in ("refs/", "refs/some/", "refs/some/set/", "refs/none/", "locations/"):
        sizes = [{info.key: info.size for info in place.list(prefix)} for place in (far, near)]
        assert sizes[0] == sizes[1]
        assert list(far.children(prefix)) == sorted(near.children(prefix))
    assert list(far.list("site/")) == []
    assert list(far.list("site/damaged/")) == []
    for prefix in ("", "packs/", "objects/", "index/", "sigs/"):
        with pytest.raises(AccessError, match="cannot list") as caught:
            list(far.list(prefix))
        assert caught.value.hint


def test_a_log_is_found_by_its_numbers(site: Site) -> None:
    near = connect(str(site.folder))
    for number in (1, 2, 3):
        near.create(layout.log_key("some/set", number), ENTRY)
    keys = [layout.log_key("some/set", number) for number in (1, 2, 3)]
    assert [info.key for info in connect(site.url).list("log/some/set/")] == keys
    assert [info.key for info in connect(site.url).list("log/")] == keys


@pytest.mark.parametrize(("says", "most"), [(b"{}", 1), (ENTRY, 4)])
def test_a_server_that_has_an_answer_to_everything_has_no_endless_log(
    monkeypatch: pytest.MonkeyPatch, says: bytes, most: int
) -> None:
    monkeypatch.setattr("dsa.remotes.listed.MOST_ENTRIES", 4)

    class Yes(MemoryBackend):
        def read(
            self, key: str, start: int = 0, length: int | None = None
        ) -> bytes:  # the protocol's
            return b'{"dataset": "ds"}\n' if key == listings.DATASETS else says

    found = Listed(Yes()).list("log/ds/")
    keys = [info.key for info in islice(found, most)]
    assert keys == [layout.log_key("ds", number + 1) for number in range(most)]
    with pytest.raises((StopIteration, DamageError)):  # no next one
        next(found)


@pytest.mark.parametrize("listing", [b"<html>", b'{"dataset": "a"', b"[]\n", b"\xff"])
def test_a_listing_that_is_none_is_damage_in_one_line(site: Site, listing: bytes) -> None:
    (site.folder / listings.DATASETS).write_bytes(listing)
    done = site.run("datasets", code=DamageError.exit_code)
    assert "@datasets.jsonl" in done.stderr
    assert "no listing" in done.stderr


def test_names_that_a_listing_makes_up_are_not_used(site: Site) -> None:
    hostile = [{"dataset": name} for name in ("../../etc", "/etc", "a/../b", "CON", "some")]
    (site.folder / listings.DATASETS).write_text("".join(json.dumps(x) + "\n" for x in hostile))
    assert site.run("datasets").stdout.split() == ["some"]


def test_a_withdrawal_is_listed_by_the_next_push(site: Site) -> None:
    ref = site.folder / layout.ref_key("some/set", "1.1")
    manifest = Ref.decode(ref.read_bytes()).manifest
    ref.write_bytes(Ref(manifest, is_withdrawn=True).encode())
    (site.data / "third").write_text("3")
    dsa.open(site.folder).push("some/set", "1.2", site.data)
    lines = (site.folder / listings.revisions_key("some/set")).read_text().splitlines()
    found = {line["revision"]: line["ref"] for line in map(json.loads, lines)}
    assert found["1.1"] == f"withdrawn {manifest}\n"
    assert set(found) == {"1.0+b", "1.1", "1.2"}
    assert site.run("revisions", "some/set").stdout.split() == ["some/set@1.2", "some/set@1.0+b"]


def test_a_checkout_through_a_faulty_line_ends_right(site: Site, tmp_path: Path) -> None:
    kinds = (Fault.CUT, Fault.ERROR, Fault.BUSY, Fault.TRUNCATED, Fault.LOST)
    root, _, name = site.url.rpartition("/")
    plan = Plan(0.3, kinds, seed=5)
    with faulty(root, plan) as endpoint:
        dsa.open(f"{endpoint}/{name}").checkout("some/set@1.1", tmp_path / "copy")
    assert plan.done
    assert is_same(site.data, tmp_path / "copy")


def test_the_second_look_asks_for_less(site: Site, web: Nginx) -> None:
    def asked() -> int:
        before = len(web.requests())
        site.run("ls", "some/set@1.1", "sub")
        return len(web.requests()) - before

    assert [asked(), asked()] == [3, 2]  # dsa.json, the ref, and once the index


def test_an_id_is_found_by_its_first_digits(site: Site) -> None:
    ref = (site.folder / layout.ref_key("some/set", "1.1")).read_text()
    assert "some/set@1.1" in site.run("show", f"some/set@{ref[:9]}").stdout


# --- servers that do not answer, or never end ----------------------------------------------------


def test_an_endless_file_is_not_counted_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dsa.remotes.http._MOST_COUNTED", 100_000)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with connection, suppress(OSError):
                        asked = connection.recv(10_000)
                        if asked.startswith(b"HEAD"):
                            connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
                            continue
                        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
                        while True:
                            connection.sendall(bytes(10_000))

        threading.Thread(target=serve, daemon=True).start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/store"
        backend = HttpBackend(url, Options({}))
        for ask in (
            lambda: backend.info(KEY),
            lambda: backend.read(KEY),
            lambda: backend.tail(KEY, 10),
            lambda: backend.open(KEY),
        ):
            with pytest.raises(AccessError, match="does not tell the length"):
                ask()
        listening.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("http://127.0.0.1:{port}/store", {}),
        ("s3://bucket/store", {"endpoint": "http://127.0.0.1:{port}", "anonymous": "true"}),
        ("ftp://127.0.0.1:{port}/store", {}),
        ("sftp://127.0.0.1:{port}/store", {}),
    ],
    ids=["http", "s3", "ftp", "sftp"],
)
def test_a_silent_server_is_given_up_after_two_tries_and_a_word(
    url: str,
    options: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    home: Path,  # nobody's keys and logins
) -> None:
    for name in ("http._SILENCE", "ftp._SILENCE", "s3session.SHORT_READ", "ssh._CONNECT"):
        monkeypatch.setattr(f"dsa.remotes.{name}_SECONDS", 2)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        host = f"127.0.0.1:{listening.getsockname()[1]}"
        port = host.rpartition(":")[2]
        given = {name: text.format(port=port) for name, text in options.items()}
        began = time.monotonic()
        with pytest.raises(AccessError, match="no connection") as caught:
            connect(url.format(port=port), given).read(KEY)
        assert time.monotonic() - began < 10
    assert caught.value.is_outage
    assert "FSTimeoutError" not in str(caught.value)
    (line,) = (one for one in caplog.records if one.levelname == "WARNING")
    assert line.getMessage().startswith("no answer from ")
    assert host in line.getMessage()
