"""Where settings come from, one layer a source: files, variables of the environment, options."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import platformdirs

from dsa.config.keys import KEYS, PATH
from dsa.errors import AccessError, UsageError

logger = logging.getLogger(__name__)

PROJECT_FOLDER = ".dsa"
FILE = "config.toml"


@dataclass(frozen=True, slots=True)
class Layer:
    """What one source says, not checked yet."""

    source: str  # as a person names it: a file's path, `DSA_JOBS`, `--jobs`
    values: Mapping[str, object]  # by dotted key
    remotes: Mapping[str, object] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()  # keys that no release of this age knows
    outside: tuple[str, ...] = ()  # files that a project may not name, and were left out
    folder: Path | None = None  # where a project's relative paths start
    is_passed_by: bool = False  # a file that is not to be trusted, and was not read


def read_layers(
    folder: Path, environ: Mapping[str, str], options: Mapping[str, str]
) -> tuple[Layer, ...]:
    """Return all layers; what comes later wins.

    `options` are those of a command line, by the name of their setting. Raises: `UsageError` for
    a file that is no TOML, `AccessError` for one that may not be read.
    """
    found = [_file(user_file(), None)]
    for path in _in_parents(folder.absolute(), f"{PROJECT_FOLDER}/{FILE}"):
        if not _is_foreign(path):
            found.append(_file(path, path.parent.parent))
            break
        found.append(Layer(str(path), {}, is_passed_by=True))
    found += [
        Layer(key.variable, {key.name: key.spelled(environ[key.variable])})
        for key in KEYS.values()
        if key.variable and environ.get(key.variable)  # an empty variable is as good as none
    ]
    found += [
        Layer(KEYS[name].flag or name, {name: KEYS[name].spelled(text)})
        for name, text in options.items()
    ]
    return tuple(layer for layer in found if layer is not None)


def user_file() -> Path:
    """Return where the user's own settings are, or would be."""
    return platformdirs.user_config_path("dsa", appauthor=False) / FILE


def project_file(folder: Path) -> Path | None:
    """Return the nearest settings of a project: in `.dsa/` in `folder`, or above it.

    Where everybody may put files, such as /tmp, one of another user's is passed by: it could send
    what is pushed from there to a store of theirs.
    """
    for path in _in_parents(folder.absolute(), f"{PROJECT_FOLDER}/{FILE}"):
        if not _is_foreign(path):
            return path
    return None


def project_file_to_write(folder: Path) -> Path:
    """Return where a project's settings go: the file there, else beside the nearest `.dsa`, else here."""
    there = project_file(folder) or next(_in_parents(folder.absolute(), PROJECT_FOLDER), None)
    if there is None:
        return folder.absolute() / PROJECT_FOLDER / FILE
    return there if there.name == FILE else there / FILE


def folder_of(file: Path) -> Path | None:
    """Return the folder of the project that a settings file is of; None for the user's own."""
    is_project = file.parent.name == PROJECT_FOLDER and file != user_file()
    return file.absolute().parent.parent if is_project else None


def _in_parents(folder: Path, name: str) -> Iterator[Path]:
    for here in (folder, *folder.parents):
        try:
            (here / name).lstat()
        except OSError:
            continue
        yield here / name


def _is_foreign(path: Path) -> bool:
    if not hasattr(os, "getuid"):
        return False
    try:
        owners = {path.stat().st_uid, path.parent.stat().st_uid}
        is_open = path.parent.parent.stat().st_mode & stat.S_IWOTH
    except OSError:
        return False
    return bool(is_open) and not owners <= {0, os.getuid()}


def _may_look(folder: Path) -> bool:
    try:
        os.lstat(folder / FILE)
    except PermissionError:
        return False
    except OSError:
        pass
    return True


def _file(path: Path, folder: Path | None) -> Layer | None:
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if not _may_look(path.parent):  # after `sudo -u`, the home may be somebody else's
            logger.warning("%s may not be looked into, so nothing is configured there", path.parent)
            return None
        raise AccessError(f"{path} cannot be read: {error.strerror}") from error
    import tomllib  # most people have no such file

    try:
        return parse(tomllib.loads(data.decode("utf-8")), str(path), folder)
    except ValueError as error:
        raise UsageError(
            f"{path} is no TOML: {error}", hint="mend that line; docs/configuration.md has examples"
        ) from error


def parse(document: Mapping[str, Any], source: str, folder: Path | None = None) -> Layer:
    """Sort what a file says into settings, remotes, and what nobody knows."""
    values: dict[str, object] = {}
    unknown: list[str] = []
    remotes: Mapping[str, object] = {}
    tables = {name.partition(".")[0] for name in KEYS if "." in name}
    for name, value in document.items():
        if name == "remotes" and isinstance(value, Mapping):
            remotes = value
        elif name in tables and isinstance(value, Mapping):
            for inner, there in value.items():
                _sort(f"{name}.{inner}", there, values, unknown)
        else:
            _sort(name, value, values, unknown)
    outside = (
        [] if folder is None else [name for name in values if _leaves(values[name], name, folder)]
    )
    for name in outside:
        del values[name]
    return Layer(source, values, remotes, tuple(unknown), tuple(outside), folder)


def _leaves(value: object, name: str, folder: Path) -> bool:
    """Whether a project says that files are to be written outside of its own folder.

    A folder that came from elsewhere must not make dsa write wherever it likes.
    """
    if KEYS[name].kind is not PATH:
        return False
    try:
        path = folder / str(PATH.read(value))
        return not path.resolve().is_relative_to(folder.resolve())
    except ValueError:  # no path at all, which is told where it is used
        return False
    except (OSError, RuntimeError):  # links in a circle; no such user's home
        return True


def _sort(name: str, value: object, values: dict[str, object], unknown: list[str]) -> None:
    if name in KEYS and KEYS[name].in_files:
        values[name] = value
    else:
        unknown.append(name)
