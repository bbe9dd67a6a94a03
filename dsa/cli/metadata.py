"""What `--metadata` says: `KEY=VALUE` or `@FILE`, any number of times, no key twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dsa.cas import strictjson
from dsa.errors import NotFoundError, UsageError

_FORM = "write KEY=VALUE, where VALUE is JSON or else text, or @FILE for a file with a JSON object"


def read(given: Iterable[str]) -> dict[str, Any]:
    """Return all that was given as one mapping; `UsageError` if a key comes twice."""
    metadata: dict[str, Any] = {}
    for key, value in _pairs(given):
        if key in metadata:
            raise UsageError(f"metadata key '{key}' is given twice")
        metadata[key] = value
    return metadata


def _pairs(given: Iterable[str]) -> Iterator[tuple[str, Any]]:
    for text in given:
        if text.startswith("@"):
            yield from _file(Path(text[1:])).items()
            continue
        key, equals, value = utf8(text, "metadata").partition("=")
        if not equals or not key:
            raise UsageError(f"'{text}' is no metadata", hint=_FORM)
        yield key, _value(value)


def _value(text: str) -> Any:
    """Read strict JSON, by way of the reader of objects; all else is text."""
    try:
        found = strictjson.loads(f'{{"value":{text}}}'.encode(), what="value")
    except ValueError:
        return text
    return found["value"] if len(found) == 1 else text


def _file(path: Path) -> dict[str, Any]:
    try:
        return strictjson.loads(path.read_bytes(), what=str(path))
    except FileNotFoundError:
        raise NotFoundError(f"there is no metadata file {path}") from None
    except ValueError as error:
        raise UsageError(str(error), hint=_FORM) from None


def utf8(text: str, what: str) -> str:
    """Return text of the command line; `UsageError` if its bytes were not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"the {what} '{text}' is not UTF-8") from None
    return text
