"""What S3, and the libraries that ask it, mean by an error: what passes, and what to tell a person."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from typing import Any

from dsa.errors import AccessError, DsaError, NotFoundError, UsageError
from dsa.remotes.streams import one_line, system_reason

#: Statuses and codes that are gone a little later. Of a body that came damaged, the next is whole.
_PASSING_STATUSES = (408, 409, 429, 500, 502, 503, 504)
_PASSING_CODES = (
    "BadDigest",
    "IncompleteBody",
    "InternalError",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "XAmzContentSHA256Mismatch",
)

_ENDPOINT = re.compile(r'(?: (?:on|from|to the))? endpoint URL: "[^"]*"')  # as botocore writes it
_CERTIFICATE = "CERTIFICATE_VERIFY_FAILED"
_NO_SUCH_FILE = ("NoSuchKey", "NoSuchUpload", "NoSuchVersion", "404", "NotFound")
_LISTINGS = ("ListMultipartUploads", "ListObjectsV2")
_UNKNOWN_KEYS = (
    "AuthFailure",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSecurity",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
)
_EXPIRED = ("ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired")
_ELSEWHERE = (
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "PermanentRedirect",
    "Redirect",
    "TemporaryRedirect",
)

HOW_CREDENTIALS = (
    "they come from where AWS's own tools find them: ~/.aws/credentials with a profile"
    " (dsa remote add … --option profile=NAME), AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY,"
    " or a role; to read public data: --option anonymous=true"
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's refusal: the HTTP status, S3's word for it, its message, on one line, and the call."""

    status: int
    code: str
    message: str
    call: str
    headers: dict[str, str]

    @property
    def is_refused_condition(self) -> bool:
        """Whether the server does not know what it was asked to do."""
        return self.status == 501 or self.code == "NotImplemented"


def original(error: BaseException) -> BaseException:
    """Return the error that s3fs put into one of Python's own."""
    cause = error.__cause__
    return cause if cause is not None and getattr(cause, "response", None) else error


def answer_of(error: BaseException) -> Answer | None:
    """Return what the server answered; None where it did not."""
    found = original(error)
    response: dict[str, Any] | None = getattr(found, "response", None)
    if not isinstance(response, dict) or "Error" not in response:
        return None
    told, meta = response["Error"], response.get("ResponseMetadata", {})
    code = str(told.get("Code") or "")
    return Answer(
        int(meta.get("HTTPStatusCode") or (code if code.isdecimal() else 0)),
        code,
        " ".join(str(told.get("Message") or "").split()),
        str(getattr(found, "operation_name", "")),
        dict(meta.get("HTTPHeaders") or {}),
    )


def passes(error: BaseException) -> bool:
    """Whether the same request may succeed a little later."""
    import aiohttp
    from botocore import exceptions as boto
    from botocore.parsers import ResponseParserError

    answer = answer_of(error)
    if answer is not None:
        return answer.status in _PASSING_STATUSES or answer.code in _PASSING_CODES
    if _CERTIFICATE in str(error) or _is_unknown_name(error):
        return False
    return isinstance(
        error,
        boto.HTTPClientError
        | boto.ConnectionError
        | boto.FlexibleChecksumError
        | boto.ResponseStreamingError
        | boto.IncompleteReadError
        | aiohttp.ClientError
        | TimeoutError
        | ConnectionError
        | EOFError
        | ResponseParserError,
    )


def is_silence(error: BaseException) -> bool:
    """Whether nobody answered for as long as one waits."""
    from botocore import exceptions as boto

    silences = (boto.ReadTimeoutError, boto.ConnectTimeoutError, TimeoutError)
    return isinstance(error, silences) or isinstance(error.__cause__, silences)


def _is_unknown_name(error: BaseException) -> bool:
    """Whether there is no such host."""
    seen: BaseException | None = error
    while seen is not None:
        inner = getattr(seen, "os_error", None) or seen
        if isinstance(inner, socket.gaierror) and inner.errno == socket.EAI_NONAME:
            return True
        seen = getattr(seen, "kwargs", {}).get("error") or seen.__cause__
    return False


def translated(error: Exception, key: str, where: str, bucket: str, server: str) -> Exception:
    """Return dsa's error for one of S3's; `KeyError` where there is no such file.

    `where` names the file, `server` the endpoint; neither holds a secret, nor does what comes out.
    """
    from botocore import exceptions as boto
    from botocore.parsers import ResponseParserError

    answer = answer_of(error)
    if answer is not None:
        return _refusal(answer, key, where, bucket, server)
    match error:
        case boto.ProfileNotFound():
            return AccessError(
                f"{where}: AWS's settings have no profile {error.kwargs.get('profile')!r}",
                hint="`aws configure list-profiles` shows those there are",
            )
        case boto.NoCredentialsError() | boto.PartialCredentialsError():
            return AccessError(f"{where}: no AWS credentials were found", hint=HOW_CREDENTIALS)
        case (
            boto.CredentialRetrievalError()
            | boto.TokenRetrievalError()
            | boto.SSOError()
            | boto.InvalidConfigError()
            | boto.ConfigParseError()
        ):
            told = f"{where}: no AWS credentials could be had: {one_line(error)}"
            return AccessError(told, hint="log in again, for example by `aws sso login`")
        case boto.ParamValidationError() | boto.InvalidRegionError():
            return UsageError(f"{where}: {one_line(error)}")
        case boto.SSLError() if _CERTIFICATE in str(error):
            return AccessError(
                f"the certificate of {server} was not accepted: {one_line(error)}",
                hint="AWS_CA_BUNDLE names the file of an authority of your own",
            )
        case ResponseParserError():
            return no_s3(server)
    if passes(error) or isinstance(error, boto.HTTPClientError | boto.ConnectionError):
        return AccessError(
            f"no connection to {server} for {where}: {_why(error)}",
            hint="is the endpoint right, and the server running?",
            is_outage=not isinstance(error, boto.SSLError),  # where TLS fails, somebody answered
        )
    return AccessError(f"{where}: {one_line(error)}")


def _why(error: Exception) -> str:
    """Return why there was no connection, without the URL, which was named already."""
    inner = getattr(error, "kwargs", {}).get("error")
    system = getattr(inner, "os_error", None)
    if isinstance(system, OSError):
        return system_reason(system)
    return _ENDPOINT.sub("", one_line(error))


def no_s3(server: str) -> AccessError:
    """Return what to tell of a server that is something else."""
    return AccessError(
        f"{server} does not speak S3",
        hint="the endpoint is the URL of the service, without a bucket: is it right?",
    )


def _refusal(answer: Answer, key: str, where: str, bucket: str, server: str) -> Exception:
    code, status = answer.code, answer.status
    told = f"{status} {code}: {answer.message}" if answer.message else f"{status} {code}"
    if code == "NoSuchBucket":
        return NotFoundError(
            f"{server} has no bucket {bucket!r}",
            hint=f"check the name; dsa makes no buckets: `aws s3 mb s3://{bucket}` does",
        )
    if code in _NO_SUCH_FILE and answer.call in _LISTINGS:
        return no_s3(server)  # S3 finds no files there, or no bucket, which it says
    if code in _NO_SUCH_FILE:
        return KeyError(key)
    if code in _EXPIRED:
        return AccessError(
            f"{where}: the AWS credentials have expired ({code})", hint="log in again"
        )
    if code in _UNKNOWN_KEYS:
        return AccessError(
            f"{where}: {server} does not accept these AWS credentials ({code})",
            hint=HOW_CREDENTIALS,
        )
    if code == "RequestTimeTooSkewed":
        return AccessError(f"{where}: {told}", hint="the clock of this machine is wrong")
    if code in _ELSEWHERE or status in (301, 307):
        region = answer.headers.get("x-amz-bucket-region")
        return AccessError(
            f"the bucket {bucket!r} is in another region than was asked ({told})",
            hint=f"set the option region={region or '…'}",
        )
    if status == 403:
        hint = "these credentials may be of another account, or only read"
        if answer.call in ("GetObject", "HeadObject"):
            hint = "or there is no such file, and no s3:ListBucket, without which nobody is told so"
        return AccessError(
            f"no permission for {answer.call}: {where} ({told})", hint=hint, is_refusal=True
        )
    if answer.is_refused_condition:
        return AccessError(f"{where}: {server} cannot do that ({told})")
    if code == "BadDigest":
        return DsaError(f"{where}: what arrived is not what was sent ({told})")
    busy = "it failed, or is busy: run the command again later" if status >= 500 else None
    is_outage = status >= 500 or status in _PASSING_STATUSES or code in _PASSING_CODES
    return AccessError(f"{where}: {server} answered {told}", hint=busy, is_outage=is_outage)
