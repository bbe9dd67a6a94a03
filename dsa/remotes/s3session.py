"""S3 as dsa asks it, by s3fs: AWS's usual credentials, no retries beside dsa's, every request counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import cache
from hashlib import md5
from typing import Any

from dsa.cas.backend import Traffic

CONNECT_SECONDS = 10
READ_SECONDS = 60  # without a byte: from the last byte sent, or between two that come
SHORT_READ_SECONDS = 25  # the same, where a server has hardly anything to do for the answer
SHORT_BODY_BYTES = 1024 * 1024

#: What a body hands to its connection at once.
PIECE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Place:
    """Which server, how it is spoken to, and as whom; None: as AWS's settings say."""

    endpoint: str | None = None
    region: str | None = None
    profile: str | None = None
    path_style: bool | None = None
    anonymous: bool = False


def server_of(place: Place) -> tuple[str, str]:
    """Return which server AWS's settings make of a place, and by which profile one is there.

    The profile, because with some servers a bucket of one name is another one for other users.
    Raises: botocore's `ProfileNotFound`.
    """
    from aiobotocore.session import AioSession

    session = AioSession(profile=place.profile)
    endpoint = place.endpoint or _configured_endpoint(session)
    region = place.region or session.get_config_variable("region") or ""
    if endpoint is None or is_aws(endpoint):  # all of Amazon's regions share the buckets' names
        endpoint = "AWS.cn" if region.startswith("cn-") else "AWS"
    return endpoint.rstrip("/"), "" if place.anonymous else session.profile or "default"


def file_system(place: Place, connections: int, traffic: Traffic) -> Any:
    """Return an s3fs file system; all that it asks is added to `traffic`.

    Raises: botocore's `ProfileNotFound`.
    """
    from aiobotocore.session import AioSession
    from s3fs import S3FileSystem

    session = AioSession(profile=place.profile)
    session.register_component("data_loader", _models(session.get_config_variable("data_path")))
    for event, handler in _handlers(traffic).items():
        session.register(event, handler)
    endpoint = place.endpoint or _configured_endpoint(session)
    path_style = place.path_style
    if path_style is None:  # few servers but AWS's have a name for each bucket
        path_style = endpoint is not None and not is_aws(endpoint)
    fs = S3FileSystem(
        session=session,
        anon=place.anonymous,
        endpoint_url=endpoint,
        client_kwargs={"region_name": place.region} if place.region else {},
        config_kwargs={
            "connect_timeout": CONNECT_SECONDS,
            "read_timeout": READ_SECONDS,
            "max_pool_connections": connections,
            "http_session_cls": _connections(),
            "retries": {"max_attempts": 0, "mode": "legacy"},  # dsa/remotes/retry.py's business
            # Every body has its Content-MD5, signed with the rest of the head, which all servers
            # check: that spares a SHA-256 of it in the event loop, and the CRC trailers that
            # servers other than AWS refuse or mistake for content.
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
            "s3": {
                "payload_signing_enabled": False,
                "addressing_style": "path" if path_style else "auto",
            },
        },
        use_listings_cache=False,
        skip_instance_cache=True,
    )
    fs.retries = 1
    return fs


@cache
def _connections() -> type:
    """Return connections that ask once, and wait less long for what a server answers at once.

    aiohttp asks again where one breaks, and tells nobody: a claim would then lose against itself.
    """
    from aiobotocore.httpsession import AIOHTTPSession

    class Connections(AIOHTTPSession):  # type: ignore[misc]  # it carries no types
        async def _get_session(self, proxy_url: str | None) -> Any:
            session = await super()._get_session(proxy_url)
            session._retry_connection = False
            return session

        def _get_request_timeout(self, request: Any) -> Any:
            import aiohttp

            size = int(request.headers.get("Content-Length") or 0)
            if request.method == "POST" or size > SHORT_BODY_BYTES:
                return super()._get_request_timeout(request)
            if "x-amz-copy-source" in request.headers:
                return super()._get_request_timeout(request)
            return aiohttp.ClientTimeout(
                total=None, sock_connect=CONNECT_SECONDS, sock_read=SHORT_READ_SECONDS
            )

    return Connections


@cache
def _models(data_path: str | None) -> Any:
    """Return what reads botocore's description of S3: once for all sessions, as it is large."""
    from botocore.loaders import create_loader

    return create_loader(data_path)


def is_aws(endpoint: str) -> bool:
    """Whether a URL is one of Amazon's own servers."""
    from urllib.parse import urlsplit

    host = urlsplit(endpoint).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


def _configured_endpoint(session: Any) -> str | None:
    """Return the endpoint that AWS's variables and files name, as its own tools do."""
    from botocore.configprovider import ConfiguredEndpointProvider

    if session.get_config_variable("ignore_configured_endpoint_urls"):
        return None
    found: str | None = ConfiguredEndpointProvider(
        full_config=session.full_config,
        scoped_config=session.get_scoped_config(),
        client_name="s3",
    ).provide()
    return found


def _handlers(traffic: Traffic) -> dict[str, Callable[..., None]]:
    """Return what listens to a session; all of it is called in the event loop's one thread.

    None holds the file system: s3fs closes its connections when that is dropped.
    """

    def sends(request: Any, **_: Any) -> None:
        traffic.requests += 1
        if isinstance(request.body, Body):
            request.body.traffic = traffic  # it counts as it goes: progress follows it
        else:
            traffic.bytes_sent += int(request.headers.get("Content-Length") or 0)

    def receives(response_dict: dict[str, Any] | None, **_: Any) -> None:
        if response_dict is None:  # no answer came
            return
        body = response_dict["body"]
        if isinstance(body, bytes):
            traffic.bytes_received += len(body)
        else:  # it is only now about to be read
            traffic.bytes_received += int(response_dict["headers"].get("content-length") or 0)

    def waits_for_no_leave(params: dict[str, Any], **_: Any) -> None:
        # aiohttp would wait for ever where a server does not know this head.
        params["headers"].pop("Expect", None)

    return {
        "before-send.s3": sends,
        "response-received.s3": receives,
        "before-call.s3": waits_for_no_leave,
    }


class Body:
    """What a request sends. It keeps no place: a second try begins anew while the first still ends."""

    def __init__(
        self,
        read_at: Callable[[int, int], bytes | memoryview],
        size: int,
        *,
        in_memory: bool = False,
    ) -> None:
        self._read_at = read_at  # (start, length) -> bytes; from any thread
        self._in_memory = in_memory
        self.size = size
        self.traffic: Traffic | None = None
        self._at = 0

    @classmethod
    def of(cls, data: bytes | bytearray) -> Body:
        """Return the body of bytes in memory."""
        view = memoryview(data)
        return cls(lambda start, length: view[start : start + length], len(data), in_memory=True)

    def md5(self) -> bytes:
        """Return the raw MD5 of all of it."""
        digest = md5(usedforsecurity=False)
        for start in range(0, self.size, PIECE_BYTES):
            digest.update(self._read_at(start, min(PIECE_BYTES, self.size - start)))
        return digest.digest()

    async def __aiter__(self) -> AsyncIterator[bytes | memoryview]:
        loop = asyncio.get_running_loop()
        at = 0
        while at < self.size:
            length = min(PIECE_BYTES, self.size - at)
            if self._in_memory:
                piece = self._read_at(at, length)
            else:  # nothing else moves while the loop waits for a disk
                piece = await loop.run_in_executor(None, self._read_at, at, length)
            if not piece:
                raise EOFError(f"a file of {self.size} bytes ended after {at}")
            yield piece
            at += len(piece)
            if self.traffic is not None:
                self.traffic.bytes_sent += len(piece)

    # botocore wants what looks like a file; it reads none of it.

    def read(self, size: int = -1) -> bytes:
        """Read on from the place of `seek`."""
        length = self.size - self._at if size < 0 else min(size, self.size - self._at)
        piece = bytes(self._read_at(self._at, length))
        self._at += len(piece)
        return piece

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move the place of `read`."""
        self._at = offset + (0, self._at, self.size)[whence]
        return self._at

    def tell(self) -> int:
        """Return the place of `read`."""
        return self._at
