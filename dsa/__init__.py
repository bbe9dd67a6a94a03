"""Publish folders of files as revisions that never change, and check them out again, verified.

    import dsa

    store = dsa.open("/data/archive")  # or dsa.open() for the default store
    store.push("my-dataset", "1", "path/to/dir", message="first release")
    store.checkout("my-dataset@1", "./dir")

Importing this is light: everything else loads when it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dsa._version import __version__ as __version__

if TYPE_CHECKING:
    from dsa.revision import File as File
    from dsa.revision import Revision as Revision
    from dsa.store import Store as Store
    from dsa.store import default_store as default_store
    from dsa.store import init as init
    from dsa.store import manifest as manifest
    from dsa.store import mirror as mirror
    from dsa.store import open as open  # noqa: A004  # dsa.open()
    from dsa.store import settings as settings
    from dsa.store import status as status
    from dsa.store import whereis as whereis
    from dsa.store import worktree_store as worktree_store

_WHERE = {
    "File": "dsa.revision",
    "Revision": "dsa.revision",
    "Store": "dsa.store",
    "default_store": "dsa.store",
    "init": "dsa.store",
    "manifest": "dsa.store",
    "mirror": "dsa.store",
    "open": "dsa.store",
    "settings": "dsa.store",
    "status": "dsa.store",
    "whereis": "dsa.store",
    "worktree_store": "dsa.store",
}

__all__ = ["__version__", *sorted(_WHERE)]  # noqa: PLE0604  # the names that __getattr__ finds


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        from importlib import import_module

        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'dsa' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
