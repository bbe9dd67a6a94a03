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
from dsa.config.layers import folder_of, parse
from dsa.config.locked import locked
from dsa.config.secrets import refuse_secrets
from dsa.config.settings import (
    Remote,
    check_name,
    check_option,
    known_options,
    remote_in,
    value,
)
from dsa.errors import AccessError, ConflictError, NotFoundError, UsageError
from dsa.remotes.urls import tidied, without_credentials

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
    with _changing(file) as change:
        document = change.document
        wanted = {"url": remote.url, **remote.options}
        if _has_dotted(document, _REMOTES) and remote.name not in document[_REMOTES]:
            change.added = {_REMOTES: {remote.name: wanted}}
            return True
        remotes = _table(document, _REMOTES, file, is_super=True)
        if _url_there(remotes, remote, file) is None:
            remotes[remote.name] = _new_table(beside=remotes)
        there = remotes[remote.name]
        changed = {name: text for name, text in wanted.items() if there.get(name) != text}
        there.update(changed)
        # With the options that it had: nothing is written that could not be used.
        read_remote(document.unwrap(), file, remote.name).check()
    return bool(changed)


def read_remote(document: Mapping[str, Any], file: Path, name: str) -> Remote:
    """Return a remote as one file has it, whatever else that says."""
    remotes = {name: document[_REMOTES][name]}
    return remote_in(parse({_REMOTES: remotes}, str(file), folder_of(file)), name)


def remote_of(file: Path, name: str) -> Remote:
    """Return a remote as a file has it now, with all its options."""
    return read_remote(_read(file.resolve())[1].unwrap(), file, name)


def check_addable(file: Path, remotes: Iterable[Remote]) -> None:
    """Raise what `add_remote` would, for several at once, before any of them is written."""
    for remote in remotes:
        remote.check()
        _url_there(_read(file.resolve())[1].get(_REMOTES, {}), remote, file)


def remove_remote(file: Path, name: str) -> bool:
    """Forget a remote, and that it is the default; returns whether it was that.

    Raises: `NotFoundError` if this file has no such remote.
    """
    with _changing(file) as change:
        document = change.document
        remotes = document.get(_REMOTES, {})
        if name not in remotes:
            raise NotFoundError(f"there is no remote {printable(name)} in {file}")
        if not change.drop(remotes[name]):
            del remotes[name]
            if not remotes and not _has_comments(document, _REMOTES):
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
    there = check_value(file, key, text)
    with _changing(file) as change:
        document = change.document
        section, dot, name = key.rpartition(".")
        table = _table(document, section, file) if dot else document
        if table.get(name) != there:
            table[name] = there


def check_value(file: Path, key: str, text: str) -> object:
    """Return what would be written for a setting; `UsageError` where it cannot be in this file."""
    there = _known(key).spelled(text)
    refuse_secrets(text, {})
    layer = parse(_nested(key, there), str(file), folder_of(file))
    if layer.outside:
        raise UsageError(
            f"{key} is not in the project's folder: {printable(text)}",
            hint="a project names only files of its own; set it without --project, for yourself",
        )
    value([layer], key)
    return there


def unset(file: Path, key: str) -> None:
    """Take a setting, or a remote's option, out of a file; `NotFoundError` if it is not in it."""
    remote = _remote_option(key)
    section, name = key.rpartition(".")[::2]
    with _changing(file) as change:
        document = change.document
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
        if section in document and not table and not _has_comments(document, section):
            del document[section]


def _url_there(remotes: Mapping[str, Any], remote: Remote, file: Path) -> str | None:
    """Return the URL that a remote of this name has, None if there is none; another one is a conflict."""
    there = remotes.get(remote.name)
    if there is None:
        return None
    url = there.get("url") if isinstance(there, Mapping) else None
    if not isinstance(url, str) or tidied(url) != remote.url:
        raise ConflictError(
            f"the remote {remote.name} is {printable(without_credentials(str(url)))} in {file}",
            hint=f"`dsa remote remove {remote.name}` first, or choose another name",
        )
    return url


def _set_option(file: Path, name: str, option: str, text: str) -> None:
    with _changing(file) as change:
        there = change.document.get(_REMOTES, {}).get(name)
        if there is None:
            raise NotFoundError(
                f"there is no remote {printable(name)} in {file}",
                hint=f"`dsa remote add {printable(name)} URL` adds one",
            )
        if option != "url":
            check_option(option)
            url = str(there.get("url"))
            refuse_secrets(url, {option: text}, known=known_options(url))
        there[option] = tidied(text) if option == "url" else text
        read_remote(change.document.unwrap(), file, name).check()


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


class _Change:
    """What is to be done to a file beside what is done to its document."""

    def __init__(self, document: TOMLDocument) -> None:
        self.document = document
        self.added: dict[str, Any] = {}  # put behind everything else
        self._mark = f"#{uuid4().hex}"

    def drop(self, table: Any) -> bool:
        """Take a section out, but for the comments behind its last line; False if it is none of its own.

        They may well be about the section that comes next: which, only a person knows.
        """
        from tomlkit.items import Table

        if not isinstance(table, Table):
            return False
        before, tail = table.trivia.comment, _tail(table)
        table.trivia.comment = self._mark
        if self._mark not in self.document.as_string():  # it has no head: its keys are dotted
            table.trivia.comment = before
            return False
        for key in list(table):
            del table[key]
        table.value.body[:] = tail
        return True

    def text(self) -> str:
        """Return the file as it is to be."""
        import tomlkit

        lines = tomlkit.dumps(self.document).splitlines(keepends=True)
        head = next((at for at, line in enumerate(lines) if self._mark in line), None)
        if head is not None:
            after = head + 1
            while after < len(lines) and not lines[after].strip():
                after += 1
            gap = lines[head + 1 : after] if head and lines[head - 1].strip() else []
            lines[head:after] = gap if after < len(lines) else []
        text = "".join(lines)
        if self.added:
            text += ("\n" if text.endswith("\n") else "\n\n") + tomlkit.dumps(self.added)
        return text

    def meant(self) -> dict[str, Any]:
        """Return what that has to read as."""
        values = self.document.unwrap()
        for section, added in self.added.items():
            values[section] = {**values.get(section, {}), **added}
        return values


def _tail(table: Any) -> list[tuple[None, Any]]:
    """Return the comments and blank lines behind the last line of a section."""
    from tomlkit.items import Comment, Table, Whitespace

    tail: list[tuple[None, Any]] = []
    for key, item in reversed(table.value.body):
        if key is None and isinstance(item, Comment | Whitespace):
            tail.insert(0, (None, item))
        else:
            return (_tail(item) if isinstance(item, Table) else []) + tail
    return tail


def _has_dotted(document: TOMLDocument, name: str) -> bool:
    """Whether a section is made by dotted keys, such as `remotes.lab.url`: nothing may follow these there."""
    from tomlkit.items import Table

    return any(
        key is not None
        and key.key == name
        and isinstance(item, Table)
        and (key.is_dotted() or any(one and one.is_dotted() for one, _ in item.value.body))
        for key, item in document.body
    )


def _has_comments(document: TOMLDocument, name: str) -> bool:
    """Whether a section that says nothing any more holds a person's words."""
    return any(
        key is not None and key.key == name and "#" in item.as_string()
        for key, item in document.body
    )


def _without_empty(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values without sections that say nothing."""
    inner = {
        key: _without_empty(there) if isinstance(there, Mapping) else there
        for key, there in values.items()
    }
    return {key: there for key, there in inner.items() if there != {}}


@contextmanager
def _changing(file: Path) -> Iterator[_Change]:
    """Give a file as a document; what it is made to say replaces it, whole or not at all."""
    file = file.resolve()  # many keep such files elsewhere, and link to them
    with locked(file):
        before, document = _read(file)
        change = _Change(document)
        yield change
        after = change.text()
        # What is written has to read as it is meant.
        if _without_empty(_loaded(after)) != _without_empty(change.meant()):
            raise UsageError(
                f"{file} is written in a way that a program would garble, so nothing was changed",
                hint="change it in an editor; sections such as [remotes.lab], and no dotted keys, can be changed",
            )
        if after != before:
            write_whole(file, after.encode())


def _loaded(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return {"": text}  # which nobody means


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
