"""Under a mark: what a store holds may be relied on until the ref is written. docs/format.md, "Orders and marks"."""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from dsa.cas import layout, site
from dsa.cas.ids import ObjectId
from dsa.cas.objectstore import ObjectStore
from dsa.cas.refs import Ref
from dsa.cas.revisions import Published
from dsa.errors import AccessError, DamageError, DsaError
from dsa.progress import Progress
from dsa.remotes.transfer import within
from dsa.verbs.doctor import check_claims, unwritable

logger = logging.getLogger(__name__)

_GC_POLL_SECONDS = 2.0
_POLLS_A_MARK = 150  # five minutes
_PATIENCE_SECONDS = 5.0


class Marked:
    """A store that is written to under a mark, with a staging folder; a context manager.

    It begins when no gc deletes, and what was read of the store before is forgotten then.
    """

    staging: Path
    found_abandoned_gc: bool  # it may go on, and delete what was relied on

    def __init__(self, store: ObjectStore, dataset: str, revision: str, progress: Progress) -> None:
        self._store = store
        self._backend = store.backend
        self._names = (dataset, revision)
        self._progress = progress
        self._is_broken_off = False

    def __enter__(self) -> Self:
        check_claims(self._backend, self._store.name)
        with ExitStack() as stack:
            self._mark = self._begin()
            stack.callback(self._end)
            self.staging = stack.enter_context(self._backend.staging())
            self._wait_for_gc()
            self._stack = stack.pop_all()
        self._store.refresh()  # what was read before the mark does not count
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_broken_off = isinstance(error, KeyboardInterrupt)
        self._stack.__exit__(kind, error, trace)  # the staging folder names its full disk

    def _end(self) -> None:
        """Say that it is over; where that cannot be said, nothing is lost, and no other error hidden."""
        try:
            if self._is_broken_off:  # it may be because nobody answers
                within(_PATIENCE_SECONDS, self._mark.end)
            else:
                self._mark.end()
        except (DsaError, TimeoutError) as error:
            logger.warning(
                "gc will wait for this mark until it is too old: %s: %s", self._mark.key, error
            )

    def loose(self, data: bytes) -> None:
        """Write an object that is always loose: a manifest or a `revision.json`."""
        key = layout.object_key(ObjectId.of(data))
        if not self._backend.create(key, data) and self._backend.read(key) != data:
            raise DamageError(
                f"{key} in {self._store.url} is damaged",
                hint="move it out of the store, and push again",
            )

    def ref(self, published: Published) -> bool:
        """Publish: from here on readers see the revision; False if another writer was first."""
        if self._mark.is_too_old(layout.object_key(published.id)):
            days = site.PUSH_TOO_OLD_SECONDS / 86_400
            raise DsaError(
                f"this took longer than {days:.0f} days, too long to rely on what was found at its start",
                hint="run it again: what was sent is found",
            )
        self._backend.flush(also=layout.RELIED_ON)
        key = layout.ref_key(published.dataset, published.revision)
        return self._backend.create(key, Ref(published.id).encode())

    def _begin(self) -> site.Mark:
        """Write the mark: the first thing that is written, so that no permission comes out here."""
        try:
            return site.Mark.begin(self._backend, *self._names)
        except AccessError as error:
            raise unwritable(self._store.name, self._store.url, error) from error

    def _wait_for_gc(self) -> None:
        polls = 0
        while True:
            running, abandoned = site.running_gc(self._backend, self._mark)
            self.found_abandoned_gc = bool(abandoned)
            if not running:
                return
            if not polls:
                logger.warning("waiting for the gc that runs on %s", self._backend.url)
                self._progress.start("waiting for a gc to end")
            polls += 1
            time.sleep(_GC_POLL_SECONDS)
            if polls % _POLLS_A_MARK == 0:
                # By a younger mark, on the store's clock, a gc that died meanwhile is known.
                old, self._mark = self._mark, site.Mark.begin(self._backend, *self._names)
                old.end()
