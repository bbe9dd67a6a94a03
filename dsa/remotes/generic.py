"""A store behind any URL that fsspec knows, and that no better Backend here is for."""

from __future__ import annotations

import inspect
import zipfile
from collections.abc import Mapping
from typing import Any, NoReturn
from urllib.parse import unquote, urlsplit

from dsa.errors import AccessError, DamageError, NotFoundError, UsageError
from dsa.remotes.anyfs import FsspecBackend
from dsa.remotes.options import COMMON, Options
from dsa.remotes.streams import one_line

#: Options of this text in their names are secrets, which dsa keeps nowhere.
_SECRETS = ("password", "passwd", "passphrase", "secret", "token", "acct", "credential", "_key")

#: Programs talk to these by their own Backends, which know whom to trust.
_NOT_IN_CHAINS = ("sftp", "ssh")

#: Of fsspec's own, and of the archives': what dsa sets itself.
_RESERVED = ("self", "args", "kwargs", "fo", "mode", "host", "fs", "storage_options")


class GenericBackend(FsspecBackend):
    """Files below any URL of fsspec's, with the options that its file system takes.

    A user's name and password for a server come from ~/.netrc.
    `zip:///path/to/store.zip`: a store in one ZIP file, which is only read; a folder in it is
    `zip://folder::/path/to/store.zip`, and after `::` any other URL may stand.
    `memory://name`: in this process alone.
    """

    def __init__(self, url: str, options: Options) -> None:
        self._protocol = url.partition("://")[0]
        super().__init__(url, options)
        self._is_archive = False

    def check_options(self) -> None:
        """Refuse an unknown kind of URL, and options that its file system does not have."""
        known = _parameters(_file_system(self._protocol))
        self._options.check((name for name in known if not _is_secret(name)), self._url)
        for link in self._url.split("::")[1:]:
            if link.partition("://")[0] in _NOT_IN_CHAINS:
                raise UsageError(f"{self._url}: an archive cannot be read over SFTP")
        self._arguments()

    def _arguments(self) -> dict[str, Any]:
        """Return the options as what their defaults are: numbers, truths, texts."""
        known = _parameters(_file_system(self._protocol))
        return {
            name: _value(self._options, name, known[name])
            for name in self._options.values
            if name not in COMMON
        }

    def connect(self) -> tuple[Any, str]:
        """Return a new file system of fsspec's, logged in with what ~/.netrc says."""
        from fsspec.archive import AbstractArchiveFileSystem

        arguments = {**self._login(), **self._arguments()}
        try:
            fs, root = self.open_file_system(arguments)
        except FileNotFoundError as error:
            raise NotFoundError(f"{self._url}: there is no such file") from error
        except zipfile.BadZipFile as error:
            raise DamageError(f"{self._url} is not a ZIP file: {one_line(error)}") from error
        except (ImportError, TypeError, ValueError) as error:
            raise UsageError(f"{self._url}: {one_line(error)}") from error
        self._is_archive = isinstance(fs, AbstractArchiveFileSystem)
        return fs, root

    def open_file_system(self, arguments: dict[str, Any]) -> tuple[Any, str]:
        """Make fsspec's file system with these arguments; return it and the folder's path in it."""
        from fsspec.core import url_to_fs

        fs, root = url_to_fs(
            _chained(self._url), use_listings_cache=False, skip_instance_cache=True, **arguments
        )
        return fs, root

    @staticmethod
    def hang_up(connection: tuple[Any, str]) -> None:
        """Close the file of an archive."""
        from fsspec.archive import AbstractArchiveFileSystem

        fs, _ = connection
        if isinstance(fs, AbstractArchiveFileSystem):
            fs.close()
            fs.of.close()

    def _login(self) -> dict[str, str]:
        """Return the user's name and password for this server from ~/.netrc."""
        import netrc

        if not {"username", "password"} <= _parameters(_file_system(self._protocol)).keys():
            return {}
        parts = urlsplit(self._url)
        user = unquote(parts.username) if parts.username else self._options.text("username")
        try:
            found = netrc.netrc().authenticators(parts.hostname or "")
        except FileNotFoundError:
            found = None
        except (OSError, netrc.NetrcParseError) as error:
            raise AccessError(f"~/.netrc cannot be read: {one_line(error)}") from error
        if found is None or (user and found[0] != user):
            return {"username": user} if user else {}
        return {"username": found[0], "password": found[2] or ""}

    # --- what differs from one file system to the next ------------------------------------------

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Return a range of a file; that it is not there is asked twice.

        Some file systems take any refusal for a missing file, also that of a range.
        """
        try:
            data = super().read(key, start, length)
            if not data and self.info(key) is None:  # a folder, of which there is nothing to read
                raise KeyError(key)
        except KeyError:
            info = self.info(key)
            if info is None:
                raise
            if start >= info.size:
                return b""
            raise AccessError(f"{self.url}/{key} is there and cannot be read") from None
        return data

    def check_writable(self, key: str) -> None:
        """Refuse to write into an archive."""
        self.ask(key, lambda: self.fs)
        if self._is_archive:
            self._refuse()

    def _refuse(self) -> NoReturn:
        raise AccessError(
            f"{self.url}: read-only, as it is an archive",
            hint="unpack it, and write to the folder",
        )


def _file_system(protocol: str) -> Any:
    """Return fsspec's class for a kind of URL; `UsageError` if there is none."""
    from fsspec import get_filesystem_class

    try:
        return get_filesystem_class(protocol)
    except ValueError:
        raise UsageError(
            f"{protocol}:// is no kind of URL that dsa knows",
            hint="it knows s3, sftp, http, https, file, and what fsspec knows: ftp, zip, …",
        ) from None
    except ImportError as error:
        raise UsageError(
            f"{protocol}:// needs a library that is not installed: {one_line(error)}"
        ) from error


def _parameters(file_system: Any) -> Mapping[str, inspect.Parameter]:
    """Return what the constructor of a file system takes by name, its parents' too."""
    found: dict[str, inspect.Parameter] = {}
    for kind in file_system.__mro__:
        made = kind.__dict__.get("__init__")
        if made is None or kind is object:
            continue
        parameters = inspect.signature(made).parameters.values()
        for parameter in parameters:
            if parameter.name not in _RESERVED:
                found.setdefault(parameter.name, parameter)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return found


def _value(options: Options, name: str, parameter: inspect.Parameter) -> Any:
    match parameter.default:
        case bool():
            return options.flag(name)
        case int():
            return options.number(name, parameter.default)
        case float():
            try:
                return float(options.values[name])
            except ValueError:
                raise UsageError(
                    f"the option {name} is {options.values[name]!r}", hint="it is a number"
                ) from None
    return options.text(name)


def _is_secret(name: str) -> bool:
    return any(secret in name for secret in _SECRETS)


def _chained(url: str) -> str:
    """Return a URL as fsspec takes it: `zip:///path` is the whole archive at that path."""
    protocol, _, path = url.partition("://")
    return f"zip://::{path}" if protocol == "zip" and "::" not in url else url
