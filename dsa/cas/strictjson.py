"""JSON as the store's files hold it: read strictly, written so that people can read it too."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any, NoReturn

#: Objects and arrays inside one another; more is no metadata but an attack on the reader.
MAX_DEPTH = 100


def loads(data: bytes, *, what: str) -> dict[str, Any]:
    """Read an object; ValueError in one line that begins with `what` if it is not strict JSON.

    Strict: UTF-8 without a byte order mark and without lone surrogates, an object at the top, no
    key twice in one object, no NaN or number beyond a float, at most `MAX_DEPTH` deep. The size
    is for the caller to bound.
    """
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
        fault = _fault(value)
    except UnicodeDecodeError as error:
        raise ValueError(f"{what}: not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise ValueError(f"{what}: nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{what}: not strict JSON: {error}") from None
    if fault:
        raise ValueError(f"{what}: {fault}")
    if not isinstance(value, dict):
        raise ValueError(f"{what}: not a JSON object")
    return value


def dumps(value: dict[str, Any]) -> bytes:
    """Write an object with sorted keys, indented, in UTF-8, with a newline at the end.

    Whatever `loads` would refuse, and whatever JSON has no form for, is a ValueError. Equal values
    give equal bytes.
    """
    fault = _fault(value)
    if fault:
        raise ValueError(f"cannot be written as JSON: {fault}")
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=2, sort_keys=True)
    except TypeError as error:
        raise ValueError(f"cannot be written as JSON: {error}") from None
    return text.encode("utf-8") + b"\n"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {key[:80]!r} stands there twice")
            seen.add(key)
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):  # 1e999 is good JSON, but would be written back as Infinity
        raise ValueError(f"the number {text[:40]} is too large")
    return number


def _fault(value: object) -> str | None:
    """Find what the json module lets pass, without recursion: the value may be hostile."""
    stack = [(value, 1)]
    while stack:
        item, depth = stack.pop()
        if isinstance(item, str):
            if not _is_encodable(item):
                return f"a lone surrogate in {item[:80]!r}"
        elif isinstance(item, dict | list | tuple):
            if depth > MAX_DEPTH:
                return f"nested more than {MAX_DEPTH} deep"
            if isinstance(item, dict):
                for key in item:
                    if not isinstance(key, str):
                        return f"the key {key!r} is not a string"
            stack.extend((part, depth + 1) for part in _parts(item))
    return None


def _parts(item: dict[str, Any] | list[Any] | tuple[Any, ...]) -> Iterator[Any]:
    if isinstance(item, dict):
        yield from item
        yield from item.values()
    else:
        yield from item


def _is_encodable(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
