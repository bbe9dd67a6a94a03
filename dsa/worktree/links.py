"""Where links lead through other links: further than the text of each says."""

from __future__ import annotations

from collections.abc import Mapping

_MAX_STEPS = 40  # links that Linux follows for one path; after that it is a loop


def leading_out(links: Mapping[str, str]) -> list[str]:
    """Return the links (path -> target) that lead out of the tree when those on the way are followed.

    What is no link counts as a folder, whether it is there or not. A loop leads nowhere.
    """
    return [path for path in links if _leads_out(path, links)]


def _leads_out(path: str, links: Mapping[str, str]) -> bool:
    here, _, name = path.rpartition("/")
    todo = [name]  # names still to go, the next one last
    steps = 0
    while todo:
        name = todo.pop()
        if name in ("", "."):
            continue
        if name == "..":
            if not here:
                return True
            here = here.rpartition("/")[0]
            continue
        there = f"{here}/{name}" if here else name
        target = links.get(there)
        if target is None:
            here = there
            continue
        steps += 1
        if steps > _MAX_STEPS:
            return False
        if target.startswith("/"):
            return True
        todo += reversed(target.split("/"))
    return False
