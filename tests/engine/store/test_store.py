"""The store: what was built once is not built again, and nothing wrong comes out of it."""

import http.server
import json
import os
import shutil
import threading
from pathlib import Path

import pytest

from scripts.engine.store.local import LocalStore, Store, StoreError, checkout
from scripts.engine.store.manifest import make_manifest
from scripts.engine.store.remote import RemoteStore
from tests.engine.project import Project, make_project

KEY = "a" * 64


@pytest.fixture
def built(tmp_path: Path) -> Project:
    """A project in which everything is built."""
    project = make_project(tmp_path / "project")
    assert project.doit().returncode == 0
    project.ran()
    return project


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A folder with two files."""
    folder = tmp_path / "target"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.bin").write_bytes(b"a" * 1000)
    (folder / "sub/b.bin").write_bytes(b"b" * 2000)
    return folder


@pytest.fixture(params=["local", "shared folder"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A store that holds the target."""
    folder = tmp_path / "store"
    return LocalStore(folder) if request.param == "local" else RemoteStore(str(folder))


def put(store: Store, target: Path) -> None:
    """Keep the target under KEY."""
    manifest = make_manifest(target)
    store.put_blobs(manifest, target)
    store.put_record(KEY, manifest)


def test_what_goes_in_comes_out(store: Store, target: Path, tmp_path: Path) -> None:
    assert checkout(store, KEY, tmp_path / "out") is None
    put(store, target)
    assert checkout(store, KEY, tmp_path / "out") == make_manifest(target)
    assert make_manifest(tmp_path / "out") == make_manifest(target)


@pytest.mark.parametrize("hard_links", [True, False])
def test_files_get_hard_links_only_where_they_may(
    target: Path, tmp_path: Path, hard_links: bool
) -> None:
    """ext4 shares no extents; where a file system does, there are no hard links at all."""
    store = LocalStore(tmp_path / "store", hard_links=hard_links)
    put(store, target)
    checkout(store, KEY, tmp_path / "out")
    counts = {path.stat().st_nlink for path in (target / "a.bin", tmp_path / "out/a.bin")}
    assert counts in ({1}, {3}) if hard_links else counts == {1}


def test_layout_is_cas_and_ac(store: Store, target: Path, tmp_path: Path) -> None:
    put(store, target)
    manifest = make_manifest(target)
    names = {path.name for path in (tmp_path / "store/cas").iterdir()}
    assert names == {entry.sha256 for entry in manifest.files}
    assert (tmp_path / "store/ac" / KEY).read_text() == manifest.to_json()


def test_blob_that_is_there_is_not_sent_again(store: Store, target: Path) -> None:
    assert store.put_blobs(make_manifest(target), target) == 3000
    assert store.put_blobs(make_manifest(target), target) == 0


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("other bytes", "holds other bytes; it was dropped"),
        ("truncated", "holds other bytes; it was dropped"),
        ("missing", "is missing"),
        ("record", "record of aaaaaaaaaaaa… can't be read"),
        ("outside", "names the path '../../x', outside of its folder"),
    ],
)
def test_fault_in_a_store_is_named(
    store: Store, target: Path, tmp_path: Path, fault: str, said: str
) -> None:
    put(store, target)
    blob = tmp_path / "store/cas" / make_manifest(target).files[1].sha256
    record = tmp_path / "store/ac" / KEY
    wrong = {"other bytes": b"x" * 2000, "truncated": b"b" * 10}
    if fault in wrong:
        blob.unlink()
        blob.write_bytes(wrong[fault])
    elif fault == "missing":
        blob.unlink()
    elif fault == "record":
        record.write_text("{")
    else:
        data = json.loads(record.read_text())
        data["files"][1]["path"] = "../../x"
        record.write_text(json.dumps(data))
    with pytest.raises(StoreError, match=said.replace(".", r"\.")):
        checkout(store, KEY, tmp_path / "scratch/out")
    assert blob.exists() == (fault in ("record", "outside"))
    assert not (tmp_path / "x").exists()


def test_store_that_answers_nothing_but_errors(target: Path, tmp_path: Path) -> None:
    class Refusing(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.send_error(500)

        do_GET = do_HEAD = do_PUT = answer

        def log_message(self, *_: object) -> None:
            """Silence."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        store = RemoteStore(f"http://me:hunter22@127.0.0.1:{server.server_port}/store")
        with pytest.raises(StoreError) as error:
            checkout(store, KEY, tmp_path / "out")
        assert "hunter22" not in str(error.value) + store.name
        with pytest.raises(StoreError):
            store.put_blobs(make_manifest(target), target)
    finally:
        server.shutdown()
        server.server_close()


def test_damaged_target_comes_out_of_the_store(built: Project) -> None:
    shutil.rmtree(built.folder / "cache/a")
    (built.folder / "out/joined.txt").unlink()
    assert built.doit().returncode == 0
    assert built.ran() == []
    assert (built.folder / "out/joined.txt").read_text()


def test_going_back_to_an_old_option_builds_nothing(built: Project) -> None:
    built.settings(b="moon")
    assert built.doit().returncode == 0
    assert built.ran() == ["words", "joined"]
    built.settings()
    assert built.doit().returncode == 0
    assert built.ran() == []


@pytest.fixture
def other(built: Project, tmp_path: Path) -> Project:
    """A second checkout, in which nothing is built."""
    project = make_project(tmp_path / "other")
    shutil.copy(built.folder / "toy.lock", project.folder)
    return project


def test_second_checkout_builds_nothing_with_the_same_store(
    built: Project, other: Project, tmp_path: Path
) -> None:
    shared = {"QUANTMAKE_STORE": str(tmp_path / "shared")}
    done = built.doit("push", **shared)
    assert done.returncode == 0, done.stdout + done.stderr
    done = other.doit(**shared)
    assert done.returncode == 0, done.stdout + done.stderr
    assert other.ran() == []
    sums = "out/SHA256SUMS"
    assert (other.folder / sums).read_text() == (built.folder / sums).read_text()


def test_pull_fetches_what_the_lock_names_and_no_inputs(
    built: Project, other: Project, tmp_path: Path
) -> None:
    shared = {"QUANTMAKE_STORE": str(tmp_path / "shared")}
    assert built.doit("push", **shared).returncode == 0
    done = other.doit("pull", **shared)
    assert done.returncode == 0, done.stdout + done.stderr
    joined = "out/joined.txt"
    assert (other.folder / joined).read_text() == (built.folder / joined).read_text()
    assert not (other.folder / "cache/a").exists()
    assert "is there already" in other.doit("pull", **shared).stdout


def edit_unseen(path: Path) -> None:
    """Other bytes of the same size, with the same modification time."""
    status = path.stat()
    path.write_bytes(path.read_bytes().swapcase())
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_push_sends_nothing_that_it_did_not_hash(built: Project, tmp_path: Path) -> None:
    edit_unseen(built.folder / "out/joined.txt")
    done = built.doit("push", QUANTMAKE_STORE=str(tmp_path / "shared"))
    assert done.returncode == 1
    assert "✗ joined: it is not what its manifest says; run doit" in done.stdout


def test_edit_of_equal_size_and_time_is_seen(built: Project) -> None:
    edit_unseen(built.folder / "out/joined.txt")
    assert "was modified since it was built" in built.doit("why", "joined").stdout
    assert built.doit().returncode == 0
    assert (built.folder / "out/joined.txt").read_text() == "hello world"


def test_pull_of_what_no_store_has(other: Project, tmp_path: Path) -> None:
    done = other.doit("pull", QUANTMAKE_STORE=str(tmp_path / "empty"))
    assert done.returncode == 1
    assert "joined: no store has it; run doit to build it" in done.stdout


def test_what_is_not_shared_is_taken_from_no_other_machine(
    built: Project, other: Project, tmp_path: Path
) -> None:
    """Who can write to the store must not get code to run, or other sources, on each builder."""
    shared = {"QUANTMAKE_STORE": str(tmp_path / "shared")}
    option = 'text: str = "hello"'
    for project in (built, other):
        stages = project.folder / "scripts/toy_stages.py"
        text = stages.read_text()
        stages.write_text(text.replace(option, f"{option}\n    shared = False"))
    assert built.doit(**shared).returncode == 0
    done = built.doit("push", **shared)
    assert "✓ joined" in done.stdout
    assert "words" not in done.stdout
    assert other.doit(**shared).returncode == 0
    assert other.ran() == ["words", "words"]


def test_machine_that_only_fetches(built: Project, other: Project, tmp_path: Path) -> None:
    shared = {"QUANTMAKE_STORE": str(tmp_path / "shared")}
    assert built.doit("push", **shared).returncode == 0
    reading = {**shared, "QUANTMAKE_STORE_READ_ONLY": "1"}
    files = sorted((tmp_path / "shared").rglob("*"))
    done = built.doit("push", **reading)
    assert done.returncode != 0
    assert "this machine may only fetch from the store" in done.stdout + done.stderr
    assert other.doit(**reading).returncode == 0
    assert other.ran() == []
    project, section = other.folder / "pyproject.toml", "[tool.quantmake]"
    text = project.read_text()
    project.write_text(text.replace(section, f"{section}\nstore_read_only = true"))
    assert other.doit("push", **shared).returncode != 0
    assert sorted((tmp_path / "shared").rglob("*")) == files


def test_read_only_store_takes_and_drops_nothing(target: Path, tmp_path: Path) -> None:
    put(RemoteStore(str(tmp_path / "store")), target)
    store, manifest = RemoteStore(str(tmp_path / "store"), read_only=True), make_manifest(target)
    with pytest.raises(StoreError, match="this machine may only fetch from it"):
        store.put_blobs(manifest, target)
    with pytest.raises(StoreError, match="this machine may only fetch from it"):
        store.put_record(KEY, manifest)
    store.drop(manifest.files[0].sha256)
    assert (tmp_path / "store/cas" / manifest.files[0].sha256).exists()


def test_push_without_a_store_is_a_usage_error(built: Project) -> None:
    done = built.doit("push")
    assert done.returncode != 0
    assert "no shared store is named: set QUANTMAKE_STORE" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_store_that_cannot_be_reached_is_a_warning(built: Project) -> None:
    built.settings(b="moon")
    done = built.doit(QUANTMAKE_STORE="http://127.0.0.1:9/store")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning: the store http://127.0.0.1:9/store" in done.stdout
    assert "Going on without it." in done.stdout
    assert built.ran() == ["words", "joined"]


def test_wrong_blob_of_the_shared_store_is_no_artefact(
    built: Project, other: Project, tmp_path: Path
) -> None:
    shared = {"QUANTMAKE_STORE": str(tmp_path / "shared")}
    assert built.doit("push", **shared).returncode == 0
    for blob in (tmp_path / "shared/cas").iterdir():
        blob.write_bytes(b"wrong" * (blob.stat().st_size // 5 + 1))
    done = other.doit(**shared)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "holds other bytes" in done.stdout
    assert other.ran() == ["words", "words", "joined"]
    sums = "out/SHA256SUMS"
    assert (other.folder / sums).read_text() == (built.folder / sums).read_text()


@pytest.fixture
def stored(built: Project) -> Project:
    """A project with an old result in its store that no lock names."""
    built.settings(b="moon")
    assert built.doit().returncode == 0
    built.settings()
    assert built.doit().returncode == 0
    built.ran()
    return built


def results(project: Project) -> int:
    """The number of action records in the project's store."""
    return len(list((project.folder / "cache/store/ac").iterdir()))


def test_gc_by_size_keeps_what_the_lock_names(stored: Project) -> None:
    assert results(stored) == 5
    assert "4 results" in stored.doit("gc", "--max-size", "0", "--dry-run").stdout
    assert results(stored) == 5
    done = stored.doit("gc", "--max-size", "0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert results(stored) == 1
    (stored.folder / "out/joined.txt").unlink()
    assert stored.doit().returncode == 0
    assert stored.ran() == []


def test_gc_by_age_leaves_what_was_used_lately(stored: Project) -> None:
    assert stored.doit("gc").returncode == 0
    assert results(stored) == 5
    assert stored.doit("gc", "--max-age", "0").returncode == 0
    assert results(stored) == 1


def test_gc_sweeps_the_scratch_of_the_dead(stored: Project) -> None:
    """Of its own targets: a folder of that name may be somebody else's."""
    room = stored.folder / "out/.scratch/joined.txt/999999999"
    others = stored.folder / "notes/.scratch/drafts/999999998"
    for folder in (room, others):
        folder.mkdir(parents=True)
    assert stored.doit("gc").returncode == 0
    assert not (stored.folder / "out/.scratch").exists()
    assert others.exists()


def test_size_that_is_none(built: Project) -> None:
    done = built.doit("gc", "--max-size", "many")
    assert done.returncode != 0
    assert "'many' is no size; write it as 8GiB or 500M" in done.stdout + done.stderr
