"""The settings in force: remotes by name, and defaults."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from dsa.cas.backend import Backend
from dsa.cas.names import printable
from dsa.config import places
from dsa.config.keys import KEYS, Key
from dsa.config.layers import Layer, read_layers
from dsa.config.secrets import refuse_secrets, shown
from dsa.errors import NotFoundError, UsageError
from dsa.remotes.connect import connect
from dsa.remotes.urls import tidied, without_credentials

logger = logging.getLogger(__name__)

#: Two characters at least: one letter before a colon is a drive on some systems.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]+", re.ASCII)
_OPTION = re.compile(r"[A-Za-z][A-Za-z0-9_-]*", re.ASCII)
MAX_NAME = 100


@dataclass(frozen=True, slots=True)
class Remote:
    """A store with a name in the configuration; without a name: one that was given by URL or path."""

    name: str
    url: str
    options: Mapping[str, str] = field(default_factory=dict)
    source: str = ""  # where it was configured

    def connect(self, jobs: int | None = None) -> Backend:
        """Return its Backend; nothing is looked at yet. `jobs` wins over the remote's own option.

        Raises: `UsageError` for options that it does not take, and for credentials in a file.
        """
        if self.source:
            self.check()
        extra = {} if jobs is None or "://" not in self.url else {"jobs": str(jobs)}
        return connect(self.url, {**self.options, **extra})

    def with_options(self, options: Mapping[str, str]) -> Self:
        """Return it with more options, by which it is no longer only what a file says."""
        if self.source:
            self.check()
        return replace(self, options={**self.options, **options}, source="")

    def check(self) -> None:
        """Refuse what would hold credentials, and options that this kind of remote does not take."""
        refuse_secrets(self.url, {})  # before anything else could show it
        refuse_secrets(self.url, self.options, known=known_options(self.url))
        connect(self.url, self.options)


def known_options(url: str) -> Mapping[str, str]:
    """Return the options that a kind of remote has of its own, each with what it means."""
    return getattr(connect(url), "OPTIONS", {})


def check_name(text: str) -> str:
    """Return `text` if it may name a remote; `UsageError` says what a name is."""
    if not _NAME.fullmatch(text) or len(text) > MAX_NAME:
        raise UsageError(
            f"'{printable(text)}' is no name of a remote",
            hint=f"2 to {MAX_NAME} letters A-Z and a-z, digits, '.', '_' and '-', the first a letter or digit",
        )
    return text


def check_option(text: str) -> str:
    """Return `text` if it may name an option of a remote."""
    if text == "url" or not _OPTION.fullmatch(text):
        raise UsageError(f"'{printable(text)}' is no name of an option")
    return text


@dataclass(frozen=True, slots=True)
class Setting:
    """One value, as text, and where it comes from; both None where nothing is set."""

    key: str
    value: str | None
    source: str | None


@dataclass(frozen=True, slots=True)
class Settings:
    """What is set, whatever it was set by."""

    remotes: Mapping[str, Remote] = field(default_factory=dict)
    default: str | None = None  # the remote that is used when none is named
    jobs: int | None = None
    cache_enabled: bool | None = None  # None: where there is a cache, it is used
    cache_folder: Path | None = None  # None: in dsa's own cache folder
    cache_limit: int | None = None  # bytes
    author: str | None = None
    store: str | None = None  # what DSA_STORE or --store names
    is_jobs_typed: bool = False  # by variable or option: then it wins over a remote's own
    sources: Mapping[str, str] = field(default_factory=dict)  # by key

    def remote(self, name: str) -> Remote:
        """Return a remote by its name; `NotFoundError` if there is none."""
        try:
            return self.remotes[name]
        except KeyError:
            raise NotFoundError(
                f"no remote is called {printable(without_credentials(name))}",
                hint=f"`dsa remote add {printable(name)} URL` adds one"
                if _NAME.fullmatch(name)
                else "`dsa remote list` lists what there is",
            ) from None

    def place(self, name_or_url: str) -> Remote:
        """Return the remote of this name, else what the path or URL says; a name wins over a path."""
        return self.remotes.get(name_or_url) or Remote("", tidied(name_or_url))

    def usual(self) -> Remote:
        """Return the store where none is named: DSA_STORE, the default remote, else the user's own.

        Raises: `NotFoundError` where the default names no remote.
        """
        if self.store is not None:
            return self.place(self.store)
        if self.default is None:
            return Remote("", str(places.default_store()))
        if self.default not in self.remotes:
            raise NotFoundError(
                f"{self.sources.get('default', 'the configuration')} says that the default is"
                f" {printable(without_credentials(self.default))}, but no remote is called so",
                hint="`dsa remote default NAME` names another one",
            )
        return self.remotes[self.default]

    def connect(self, remote: Remote) -> Backend:
        """Return the Backend of a remote, with the number of jobs in force there."""
        has_own = "jobs" in remote.options and not self.is_jobs_typed
        return remote.connect(None if has_own else self.jobs)


def load(
    folder: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    options: Mapping[str, str] | None = None,
) -> Settings:
    """Read the settings of the user, and those of the project that `folder` (else the current one) is in.

    The environment and the options of a command line, by name of setting, win over both; only
    the command line passes them. Raises: `UsageError` naming file and key of what is wrong there.
    """
    return merge(read_layers(folder or Path(), environ or {}, options or {}))


def merge(layers: Iterable[Layer]) -> Settings:
    """Return what holds where every layer wins over those before it; names in a file that mean nothing are warned of."""
    layers = tuple(layers)
    for layer in layers:
        if layer.is_passed_by:
            logger.warning(
                "%s is somebody else's, in a folder open to all: passed by", layer.source
            )
        for name in layer.outside:
            logger.warning("%s: %s is not in the project's folder: left out", layer.source, name)
        for name in layer.unknown:
            logger.warning("%s: there is no setting %s", layer.source, printable(name))
    values: dict[str, Any] = {name: value(layers, name) for name in KEYS}
    sources = {name: layer.source for layer in layers for name in layer.values}
    remotes = {name: remote_in(layer, name) for layer in layers for name in layer.remotes}
    return Settings(
        remotes=dict(sorted(remotes.items())),
        default=values["default"],
        jobs=values["jobs"],
        cache_enabled=values["cache.enabled"],
        cache_folder=values["cache.folder"],
        cache_limit=values["cache.limit"],
        author=values["author"],
        store=values["store"],
        is_jobs_typed=sources.get("jobs") in (KEYS["jobs"].variable, KEYS["jobs"].flag),
        sources=sources,
    )


def value(layers: Iterable[Layer], name: str) -> Any:
    """Return one setting's value, None if it is not set; `UsageError` if it is none of its kind."""
    found = None
    for layer in layers:
        if name in layer.values:
            found = _checked(KEYS[name], layer)
    return found


def settings_shown(layers: Iterable[Layer]) -> list[Setting]:
    """Return every setting and every remote's options with their sources; nothing is checked."""
    layers = tuple(layers)
    rows = {name: Setting(name, None, None) for name in KEYS}
    remotes: dict[str, list[Setting]] = {}
    for layer in layers:
        for name, there in layer.values.items():
            rows[name] = Setting(name, without_credentials(_as_text(there)), layer.source)
        for name, entry in layer.remotes.items():
            pairs = entry.items() if isinstance(entry, Mapping) else [("url", entry)]
            remotes[name] = [
                Setting(f"remotes.{name}.{option}", _as_text(shown(option, there)), layer.source)
                for option, there in pairs
            ]
    return [*rows.values(), *(row for name in sorted(remotes) for row in remotes[name])]


def _checked(key: Key, layer: Layer) -> Any:
    there = layer.values[key.name]
    try:
        found = key.kind.read(there)
    except ValueError:
        at = "" if layer.source in (key.variable, key.flag) else f": {key.name}"
        raise UsageError(
            f"{layer.source}{at} is {there!r}; it should be {key.kind.expected}"
        ) from None
    if isinstance(found, Path) and not found.is_absolute() and not _is_typed(key, layer):
        return _from_file(found, layer, key.name)
    return found


def _is_typed(key: Key, layer: Layer) -> bool:
    return layer.source in (key.variable, key.flag)


def _from_file(path: Path, layer: Layer, name: str) -> Path:
    """Return a path in a file: of a project it starts at its folder, else it has to be absolute."""
    if layer.folder is None:
        raise UsageError(
            f"{layer.source}: {name} is the relative path {printable(str(path))}",
            hint="write a path that begins with / or ~",
        )
    return layer.folder / path


#: Options by which whoever wrote a project's settings could run what they like (ssh's ProxyCommand).
_RUNS_PROGRAMS = frozenset({"config"})


def remote_in(layer: Layer, name: str) -> Remote:
    """Return a remote as one source has it; `UsageError` if it cannot be one."""
    entry = layer.remotes[name]
    where = f"remotes.{printable(name)}"
    try:
        check_name(name)
        if not isinstance(entry, Mapping):
            raise UsageError(f"{where} is no table", hint=f"write [remotes.{name}] with a url")
        texts = {option: _option(where, option, value) for option, value in entry.items()}
    except UsageError as error:
        raise UsageError(f"{layer.source}: {error}", hint=error.hint) from None
    url = tidied(texts.pop("url", ""))
    if layer.folder is not None and (risky := sorted(_RUNS_PROGRAMS & texts.keys())):
        raise UsageError(
            f"{layer.source}: {where}.{risky[0]} names a file that may start programs, "
            "which a project's settings may not",
            hint=f"put this remote into your own settings: dsa remote add {name} URL --option ...",
        )
    if not url.strip():
        raise UsageError(f"{layer.source}: {where} has no url", hint='write url = "…"')
    path = Path(url)
    if "://" not in url and not url.startswith("~") and not path.is_absolute():
        url = str(_from_file(path, layer, f"{where}.url"))
    return Remote(name, url, texts, layer.source)


def _option(where: str, option: str, value: object) -> str:
    if option != "url":
        check_option(option)
    if option != "url" and isinstance(value, bool | int | float):
        return _as_text(value)
    if not isinstance(value, str):
        raise UsageError(
            f"{where}.{option} is no text", hint="it is a text, a number, or true or false"
        )
    return value


def _as_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
