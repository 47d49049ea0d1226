"""Tasks that copy: each file to its place, and again where it was changed."""

from pathlib import Path

from scripts.engine.graph.tasks import publish
from scripts.engine.store.manifest import make_manifest, manifest_path


def test_published_files_go_where_they_are_told(tmp_path: Path) -> None:
    source = tmp_path / "node"
    (source / "charts").mkdir(parents=True)
    for name in ("page.md", "page.html", "charts/one.svg"):
        (source / name).write_text(name)
    manifest_path(source).parent.mkdir()
    manifest_path(source).write_text(make_manifest(source).to_json())
    elsewhere = {"page.html": tmp_path / "out"}
    task = publish("report", source, tmp_path / "home", elsewhere)
    (is_current,), (copy, _) = task["uptodate"], task["actions"]
    assert not is_current()
    assert copy() is None
    assert is_current()
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    assert {"home/page.md", "home/charts/one.svg", "out/page.html"} <= found
    assert "home/page.html" not in found
    (tmp_path / "out" / "page.html").write_text("edited by hand")
    assert not is_current()
