"""Changes of a settings file: a person's comments, order and everything else there stay as they are."""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from dsa.cas.names import printable
from dsa.config.keys import KEYS
from dsa.config.layers import parse
from dsa.config.secrets import refuse_secrets, without_credentials
from dsa.config.settings import Remote, check_name, check_option, known_options, value
from dsa.errors import AccessError, ConflictError, DsaError, NotFoundError, UsageError

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

_REMOTES = "remotes"


def add_remote(file: Path, remote: Remote) -> bool:
    """Write a remote down; one of this name and URL gets the options, and keeps its others.

    Returns False where all of it was there already. Raises: `ConflictError` where the name is
    another store's, `UsageError` for credentials and for options that it does not take.
    """
    check_name(remote.name)
    for option in remote.options:
        check_option(option)
    remote.check()
    with _changing(file) as document:
        remotes = _table(document, _REMOTES, file, is_super=True)
        if _url_there(remotes, remote, file) is None:
            remotes[remote.name] = _new_table(beside=remotes)
        there = remotes[remote.name]
        wanted = {"url": remote.url, **remote.options}
        changed = {name: text for name, text in wanted.items() if there.get(name) != text}
        there.update(changed)
    return bool(changed)


def check_addable(file: Path, remotes: Iterable[Remote]) -> None:
    """Raise what `add_remote` would, for several at once, before any of them is written."""
    for remote in remotes:
        remote.check()
        _url_there(_read(file.resolve())[1].get(_REMOTES, {}), remote, file)


def remove_remote(file: Path, name: str) -> bool:
    """Forget a remote, and that it is the default; returns whether it was that.

    Raises: `NotFoundError` if this file has no such remote.
    """
    with _changing(file) as document:
        remotes = document.get(_REMOTES, {})
        if name not in remotes:
            raise NotFoundError(f"there is no remote {printable(name)} in {file}")
        del remotes[name]
        if not remotes:
            del document[_REMOTES]
        was_default = bool(document.get("default") == name)
        if was_default:
            del document["default"]
    return was_default


def set_value(file: Path, key: str, text: str) -> None:
    """Set a setting, or `remotes.NAME.OPTION` of a remote that the file has.

    Raises: `UsageError` for a setting that is not there, or a value that is none of its kind.
    """
    remote = _remote_option(key)
    if remote is not None:
        _set_option(file, *remote, text)
        return
    known = _known(key)
    there = known.spelled(text)
    value([parse(_nested(key, there), str(file), Path("/"))], key)
    with _changing(file) as document:
        section, dot, name = key.rpartition(".")
        table = _table(document, section, file) if dot else document
        if table.get(name) != there:
            table[name] = there


def unset(file: Path, key: str) -> None:
    """Take a setting, or a remote's option, out of a file; `NotFoundError` if it is not in it."""
    remote = _remote_option(key)
    section, name = key.rpartition(".")[::2]
    with _changing(file) as document:
        if remote is not None:
            table, name = document.get(_REMOTES, {}).get(remote[0], {}), remote[1]
            if name == "url":
                raise UsageError(
                    f"{key}: a remote has a url", hint=f"`dsa remote remove {remote[0]}`"
                )
        else:
            _known(key)
            table = document.get(section, {}) if section else document
        if not isinstance(table, Mapping) or name not in table:
            raise NotFoundError(f"{key} is not set in {file}", hint="`dsa config` shows what is")
        del table[name]  # type: ignore[attr-defined]  # tomlkit's tables and documents are mutable
        if section in document and not table:
            del document[section]


def _url_there(remotes: Mapping[str, Any], remote: Remote, file: Path) -> str | None:
    """Return the URL that a remote of this name has, None if there is none; another one is a conflict."""
    there = remotes.get(remote.name)
    if there is None:
        return None
    url = there.get("url") if isinstance(there, Mapping) else None
    if url != remote.url:
        raise ConflictError(
            f"the remote {remote.name} is {printable(without_credentials(str(url)))} in {file}",
            hint=f"`dsa remote remove {remote.name}` first, or choose another name",
        )
    return remote.url


def _set_option(file: Path, name: str, option: str, text: str) -> None:
    with _changing(file) as document:
        there = document.get(_REMOTES, {}).get(name)
        if there is None:
            raise NotFoundError(
                f"there is no remote {printable(name)} in {file}",
                hint=f"`dsa remote add {printable(name)} URL` adds one",
            )
        url = text if option == "url" else str(there.get("url"))
        if option != "url":
            check_option(option)
            refuse_secrets(url, {option: text}, known=known_options(url))
        changed = {**{key: str(one) for key, one in there.items() if key != "url"}, option: text}
        changed.pop("url", None)
        Remote(name, url, changed).check()
        there[option] = text


def _remote_option(key: str) -> tuple[str, str] | None:
    """Return the remote and the option that `remotes.NAME.OPTION` names; a name may hold dots."""
    if not key.startswith(f"{_REMOTES}."):
        return None
    name, dot, option = key.removeprefix(f"{_REMOTES}.").rpartition(".")
    if not dot or not option:
        raise UsageError(f"{printable(key)} is no setting", hint="write remotes.NAME.OPTION")
    return name, option


def _known(key: str) -> Any:
    known = KEYS.get(key)
    if known is None:
        raise UsageError(
            f"there is no setting {printable(key)}",
            hint=f"there are {', '.join(one.name for one in KEYS.values() if one.in_files)}, and remotes.NAME.OPTION",
        )
    if not known.in_files:
        raise UsageError(
            f"{key} is set by {known.flag} or {known.variable} only",
            hint="`dsa remote default NAME` says which remote is used where none is named",
        )
    return known


def _nested(key: str, there: object) -> dict[str, Any]:
    section, dot, name = key.rpartition(".")
    return {section: {name: there}} if dot else {name: there}


def _new_table(*, is_super: bool = False, beside: Any = None) -> Any:
    """Return an empty table, in the form that its place asks for."""
    import tomlkit
    from tomlkit.items import InlineTable

    if isinstance(beside, InlineTable):
        return tomlkit.inline_table()
    return tomlkit.table(is_super_table=is_super)


def _table(document: TOMLDocument, name: str, file: Path, *, is_super: bool = False) -> Any:
    there = document.get(name)
    if there is None:
        there = document[name] = _new_table(is_super=is_super)
    if not isinstance(there, Mapping):
        raise UsageError(f"{file}: {name} is no table", hint=f"write it as [{name}]")
    return document[name]


def _read(file: Path) -> tuple[str, TOMLDocument]:
    import tomlkit
    from tomlkit.exceptions import ParseError

    try:
        text = file.read_bytes().decode("utf-8") if file.exists() else ""  # line ends as they are
        return text, tomlkit.parse(text)
    except (ParseError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is no TOML: {error}", hint="mend that line first") from error
    except OSError as error:
        raise AccessError(f"{file} cannot be read: {error.strerror}") from error


@contextmanager
def _changing(file: Path) -> Iterator[TOMLDocument]:
    """Give a file as a document; what it is made to say replaces it, whole or not at all."""
    import tomlkit

    file = file.resolve()  # many keep such files elsewhere, and link to them
    before, document = _read(file)
    yield document
    after = tomlkit.dumps(document)
    if tomllib.loads(after) != document.unwrap():  # what is written has to read as it is meant
        raise DsaError(f"{file} cannot be changed by a program", hint="change it in an editor")
    if after != before:
        write_whole(file, after.encode())


def write_whole(file: Path, data: bytes, *, mode: int | None = None) -> None:
    """Replace a file, all of it or nothing; it keeps its mode, unless another one is asked for."""
    partial = file.with_name(f".{file.name}.{uuid4().hex}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if mode is None and file.exists():
            mode = stat.S_IMODE(file.stat().st_mode)
        # Never for a moment readable by those who may not read what it replaces.
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode or 0o666)
        with os.fdopen(descriptor, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        if mode is not None:
            partial.chmod(mode)
        partial.replace(file)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise AccessError(f"{file} cannot be written: {error.strerror}") from error
