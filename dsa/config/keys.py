"""Every setting there is: its name, its kind, and what names it outside the files. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

#: How much of a log is wanted, from the most to the least.
LEVELS = ("debug", "info", "warning", "error", "critical")

_TRUE = ("true", "yes", "on", "1")
_FALSE = ("false", "no", "off", "0")
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", re.ASCII)
_UNITS = {"": 1, "b": 1, "byte": 1, "bytes": 1}
for _power, _letter in enumerate("kmgtpe", start=1):
    _UNITS |= {_letter: 1000**_power, f"{_letter}b": 1000**_power, f"{_letter}ib": 1024**_power}


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of value. `read` raises ValueError for a TOML value that is none of it."""

    expected: str  # reads after "it is …"
    read: Callable[[object], object]
    from_text: Callable[[str], object] = str  # a person's text as the TOML value it stands for


@dataclass(frozen=True, slots=True)
class Key:
    """One setting."""

    name: str
    kind: Kind
    meaning: str
    variable: str | None = None
    flag: str | None = None
    in_files: bool = True

    def spelled(self, text: str) -> object:
        """Return the TOML value that a person means by a text; not checked yet."""
        return self.kind.from_text(text)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError
    return value


def _number(value: object) -> int:
    if type(value) is not int or value < 1:
        raise ValueError
    return value


def _number_of(text: str) -> object:
    return int(text) if re.fullmatch(r"\d{1,9}", text, re.ASCII) else text


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _flag_of(text: str) -> object:
    lowered = text.strip().lower()
    return lowered in _TRUE if lowered in _TRUE + _FALSE else text


def read_size(value: object) -> int:
    """Return a size in bytes: a whole number, or text such as `20 GB` or `1.5 TiB`."""
    if type(value) is int and value >= 0:
        return value
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if found is None or found[2].lower() not in _UNITS:
        raise ValueError
    return round(float(found[1]) * _UNITS[found[2].lower()])


def _path(value: object) -> Path:
    return Path(_text(value)).expanduser()


def _level(value: object) -> str:
    if not isinstance(value, str) or value.lower() not in LEVELS:
        raise ValueError
    return value.lower()


TEXT = Kind("a text", _text)
NUMBER = Kind("a whole number from 1 on", _number, _number_of)
FLAG = Kind("true or false", _flag, _flag_of)
SIZE = Kind("a size, such as '20 GB'", read_size)
PATH = Kind("a folder's or file's path", _path)
LEVEL = Kind(f"one of {', '.join(LEVELS)}", _level)

#: All of them but the remotes, in the order in which they are shown.
KEYS = {
    key.name: key
    for key in (
        Key(
            "store",
            TEXT,
            "the store: a remote's name, a path or a URL",
            variable="DSA_STORE",
            flag="--store",
            in_files=False,
        ),
        Key("default", TEXT, "the remote that is used where no store is named"),
        Key(
            "jobs",
            NUMBER,
            "requests at once, and worker processes at most",
            variable="DSA_JOBS",
            flag="--jobs",
        ),
        Key("author", TEXT, "who publishes: `NAME <MAIL>`", variable="DSA_AUTHOR"),
        Key("cache.enabled", FLAG, "whether what is fetched from remotes is kept in a cache"),
        Key("cache.folder", PATH, "the folder of that cache", variable="DSA_CACHE"),
        Key("cache.limit", SIZE, "how large it may grow"),
        Key("log.level", LEVEL, "how much is logged", variable="DSA_LOGLEVEL"),
        Key("log.file", PATH, "the file that a log is appended to", flag="--log-file"),
    )
}
