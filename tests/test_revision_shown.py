from __future__ import annotations

from pathlib import Path

import dsa


def test_a_revision_shows_itself_in_a_notebook_with_everything_escaped(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    folder.mkdir()
    (folder / "<script>x.txt").write_bytes(b"12345")
    (folder / "sub").mkdir()
    store = dsa.open(tmp_path / "store", create=True)
    store.push(
        "ds",
        "1",
        folder,
        message="a <b>message</b>",
        metadata={"k<i>": "v&w"},
        author="A B <a@b.c>",
    )
    shown = store["ds@1"]._repr_html_()
    for wanted in ("ds@1", "A B &lt;a@b.c&gt;", "a &lt;b&gt;message", "k&lt;i&gt;", "v&amp;w"):
        assert wanted in shown
    assert "&lt;script&gt;x.txt" in shown
    assert "sub/" in shown
    assert not any(tag in shown for tag in ("<script", "<b>", "<i>"))
    assert repr(store["ds@1"]).startswith("<Revision ds@1: 1 files, 5 bytes, ")
