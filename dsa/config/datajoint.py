"""Profiles of djarchive in a DataJoint configuration, as remotes. Pure: `plan` only says what would be set."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dsa.config.credentials import Keys
from dsa.config.keys import LEVELS
from dsa.config.settings import Remote
from dsa.errors import AccessError, NotFoundError, UsageError

_PREFIX = "djarchive."

#: What djarchive took where its configuration said nothing.
_BUCKET = "djhub.vathes.datapub.elements"
_ENDPOINT = "s3.djhub.io"

_LEVELS = {level: level for level in LEVELS}
_LEVELS |= {"fatal": "critical", "warn": "warning", "notset": "debug"}
_READ = ("access_key", "secret_key", "bucket", "endpoint")

#: What a configuration says that a remote has no place for: `--exclude` and `.dsaignore` do.
_ELSEWHERE = "filename_filter"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a DataJoint configuration comes to."""

    remotes: tuple[Remote, ...]
    keys: Mapping[str, Keys] = field(
        repr=False
    )  # by the name of the profile, which is the remote's
    settings: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def default_file(folder: Path, home: Path) -> Path:
    """Return the file that DataJoint itself would read: that of the folder, else the user's."""
    local = folder / "dj_local_conf.json"
    return local if local.exists() else home / ".datajoint_config.json"


def read(file: Path) -> Plan:
    """Read a DataJoint configuration; no value of it ever shows in an error."""
    try:
        config = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise NotFoundError(f"there is no DataJoint configuration {file}") from None
    except OSError as error:
        raise AccessError(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{file} is no DataJoint configuration: {error}") from None
    if not isinstance(config, dict):
        raise UsageError(f"{file} is no DataJoint configuration: no JSON object")
    return plan(config, str(file))


def plan(config: Mapping[str, Any], source: str) -> Plan:
    """Say which remotes, keys and settings the `djarchive.*` values of a configuration stand for.

    They lie in its `custom`, those of the oldest ones beside it. Raises: `UsageError`.
    """
    custom = config.get("custom")
    said = {**config, **(custom if isinstance(custom, Mapping) else {})}
    ours = {
        name.removeprefix(_PREFIX): value
        for name, value in said.items()
        if name.startswith(_PREFIX) and value is not None
    }
    if not ours:
        raise NotFoundError(f"{source} says nothing of djarchive")
    sets = {"djarchive": _of(ours, "")}
    sets |= {f"djarchive-{role}": _of(ours, f"{role}.") for role in ("client", "admin")}
    remotes, keys, remarks = [], {}, []
    for name, values in sets.items():
        if not values:
            continue
        texts = {key: _text(key, value, source) for key, value in values.items()}
        found = _keys(texts, name, source)
        if found is not None:
            keys[name] = found
        remotes.append(_remote(name, texts, source, has_keys=found is not None))
    if ours.get(_ELSEWHERE):
        remarks.append(
            f"djarchive.{_ELSEWHERE} is no setting of dsa: a .dsaignore or --exclude leaves files out"
        )
    return Plan(tuple(remotes), keys, _logging(config, source, remarks), tuple(remarks))


def _of(ours: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {key: ours[prefix + key] for key in _READ if ours.get(prefix + key) not in (None, "")}


def _text(key: str, value: object, source: str) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{source}: djarchive's {key} is no text")
    return value.strip()


def _keys(texts: Mapping[str, str], name: str, source: str) -> Keys | None:
    given = [key for key in ("access_key", "secret_key") if key in texts]
    if len(given) == 1:
        raise UsageError(f"{source}: {name} has only one of access_key and secret_key: {given[0]}")
    try:
        return Keys(texts["access_key"], texts["secret_key"]) if given else None
    except ValueError as error:
        raise UsageError(f"{source}: {name}: {error}") from None


def _remote(name: str, texts: Mapping[str, str], source: str, *, has_keys: bool) -> Remote:
    endpoint = texts.get("endpoint", _ENDPOINT).rstrip("/")
    if "://" not in endpoint:
        endpoint = f"https://{endpoint}"  # what djarchive spoke, always
    options = {"endpoint": endpoint}
    options |= {"profile": name} if has_keys else {"anonymous": "true"}
    return Remote(name, f"s3://{texts.get('bucket', _BUCKET).strip('/')}", options, source)


def _logging(config: Mapping[str, Any], source: str, remarks: list[str]) -> dict[str, str]:
    """Return the log level, DataJoint's own, and the log file, which is among what is custom."""
    custom = config.get("custom")
    settings = {}
    level = config.get("loglevel")
    if level is not None:
        known = _LEVELS.get(str(level).lower())
        if known:
            settings["log.level"] = known
        else:
            remarks.append(f"{source}: there is no log level {level!r}: left out")
    file = custom.get("logfile") if isinstance(custom, Mapping) else None
    if isinstance(file, str) and file:
        settings["log.file"] = str(Path(file).expanduser().absolute())
    elif file:
        remarks.append(f"{source}: the logfile is no path: left out")
    return settings
