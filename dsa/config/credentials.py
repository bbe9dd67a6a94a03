"""Profiles in the AWS credentials file: where keys belong. dsa only ever adds one, and only when asked to."""

from __future__ import annotations

import configparser
import re
from dataclasses import dataclass, field
from pathlib import Path

from dsa.config.edit import write_whole
from dsa.config.locked import locked
from dsa.errors import AccessError, ConflictError, UsageError

_MODE = 0o600  # for the owner alone
_PLAIN = re.compile(r"[\x21-\x7e]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one S3 account; they never show in a message, a log or a traceback."""

    access: str = field(repr=False)
    secret: str = field(repr=False)

    def __post_init__(self) -> None:
        if not (_PLAIN.fullmatch(self.access) and _PLAIN.fullmatch(self.secret)):
            raise ValueError("a key is empty, or holds what no key does")


def default_file() -> Path:
    """Return where AWS's own tools look."""
    return Path("~/.aws/credentials").expanduser()


def has_profile(file: Path, name: str, keys: Keys) -> bool:
    """Say whether a profile is there with these keys; `ConflictError` if it has others."""
    there = _read(file)
    if not there.has_section(name):
        return False
    held = (
        there.get(name, "aws_access_key_id", fallback=None),
        there.get(name, "aws_secret_access_key", fallback=None),
    )
    if held != (keys.access, keys.secret):
        raise ConflictError(
            f"{file} has a profile {name} with other keys",
            hint="nothing was changed; rename or remove that profile, or add the keys yourself",
        )
    return True


def add_profile(file: Path, name: str, keys: Keys) -> bool:
    """Add a profile at the end, all else staying as it is; False if it is there with these keys.

    Afterwards only the owner may read the file. Raises: `ConflictError` where the profile has
    other keys.
    """
    file = file.resolve()
    with locked(file):
        if has_profile(file, name, keys):
            return False
        before = file.read_bytes() if file.exists() else b""
        gap = b"" if not before else b"\n" if before.endswith(b"\n") else b"\n\n"
        profile = (
            f"[{name}]\naws_access_key_id = {keys.access}\naws_secret_access_key = {keys.secret}\n"
        )
        write_whole(file, before + gap + profile.encode(), mode=_MODE)
    return True


def _read(file: Path) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(file.read_text(encoding="utf-8") if file.exists() else "")
    except OSError as error:
        raise AccessError(f"{file} cannot be read: {error.strerror}") from error
    except (configparser.Error, UnicodeDecodeError):
        # Not `from`: the parser's own message quotes lines of the file.
        raise UsageError(f"{file} cannot be read as AWS's own tools would") from None
    return parser
