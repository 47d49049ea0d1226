"""A real Dask scheduler and workers on loopback that share nothing but the store."""

import datetime
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts.engine.build.record import read_record
from tests.engine.project import Project, make_project

pytest.importorskip("distributed")


WAIT = """
import sys
from distributed import Client
with Client(sys.argv[1]) as client:
    client.wait_for_workers(int(sys.argv[2]), timeout=60)
"""


@dataclass
class Cluster:
    """The scheduler's address, and per worker its process and its own checkout."""

    address: str
    workers: list[tuple[subprocess.Popen[bytes], Project]]
    shared: dict[str, str]

    def arguments(self) -> list[str]:
        """What sends stages there."""
        return ["--engine", "dask", "--scheduler", self.address]

    def ran(self) -> list[str]:
        """The stages that ran on the workers since the last call."""
        return sorted(name for _, project in self.workers for name in project.ran())


def certificate(folder: Path) -> dict[str, str]:
    """A certificate of its own authority for this machine, and dask's settings that ask for it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "quantmake")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir()
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    settings = {"DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True"}
    settings["DASK_DISTRIBUTED__COMM__TLS__CA_FILE"] = str(folder / "cert.pem")
    for role in ("SCHEDULER", "WORKER", "CLIENT"):
        settings[f"DASK_DISTRIBUTED__COMM__TLS__{role}__CERT"] = str(folder / "cert.pem")
        settings[f"DASK_DISTRIBUTED__COMM__TLS__{role}__KEY"] = str(folder / "key.pem")
    return settings


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A scheduler and three workers of one thread each."""
    with started(tmp_path, 3, {}) as made:
        yield made


def written_address(file: Path) -> str:
    """The scheduler's address, once its file is whole: it is there before its text is."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with suppress(FileNotFoundError, json.JSONDecodeError):
            return str(json.loads(file.read_text())["address"])
        time.sleep(0.1)
    raise TimeoutError(f"the scheduler wrote no whole {file} within a minute")


@contextmanager
def started(tmp_path: Path, workers_wanted: int, settings: dict[str, str]) -> Iterator[Cluster]:
    """A cluster with dask's `settings`, as variables of the environment."""
    started: list[subprocess.Popen[bytes]] = []
    file = tmp_path / "scheduler.json"

    def start(project: Project, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.{module}", "--no-dashboard"]
        process = subprocess.Popen(
            [*command, "--scheduler-file", str(file), *arguments],
            cwd=project.folder,
            env=project.environment(DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL="10s", **settings),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        started.append(process)
        return process

    first = make_project(tmp_path / "scheduler")
    protocol = ("--protocol", "tls" if settings else "tcp")
    start(first, "dask_scheduler", "--host", "127.0.0.1", "--port", "0", *protocol)
    workers = []
    try:
        address = written_address(file)
        for number in range(workers_wanted):
            project = make_project(tmp_path / f"worker{number}")
            options = ("--nthreads", "1", "--no-nanny", "--host", "127.0.0.1", *protocol)
            workers.append((start(project, "dask_worker", *options), project))
        done = first.python("-c", WAIT, address, str(workers_wanted), **settings)
        assert done.returncode == 0, done.stderr
        yield Cluster(address, workers, {"QUANTMAKE_STORE": str(tmp_path / "shared"), **settings})
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """The controller's checkout, nothing built."""
    return make_project(tmp_path / "project")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digests of a local build."""
    made = make_project(tmp_path_factory.mktemp("undisturbed"))
    assert made.doit().returncode == 0
    return (made.folder / "out/SHA256SUMS").read_text()


def test_stages_run_on_the_workers(cluster: Cluster, project: Project, undisturbed: str) -> None:
    done = project.doit(*cluster.arguments(), **cluster.shared)
    assert done.returncode == 0, done.stdout + done.stderr
    assert project.ran() == []
    assert cluster.ran() == ["joined", "words", "words"]
    assert (project.folder / "out/SHA256SUMS").read_text() == undisturbed
    done = project.doit()
    assert done.stdout.startswith("Nothing to do"), done.stdout


def test_worker_that_is_killed_midway(cluster: Cluster, project: Project) -> None:
    project.settings(trouble="pause")
    running = subprocess.Popen(
        [sys.executable, "-m", "doit", *cluster.arguments()],
        cwd=project.folder,
        env=project.environment(**cluster.shared),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    killed = None
    end = time.monotonic() + 60
    while killed is None:
        assert time.monotonic() < end
        for process, worker in cluster.workers:
            trace = worker.folder / "trace.txt"
            if trace.exists() and "joined" in trace.read_text():
                process.kill()
                killed = process
                break
        time.sleep(0.05)
    output, _ = running.communicate(timeout=100)
    assert running.returncode == 0, output
    assert (project.folder / "out/joined.txt").read_text() == "hello world"
    assert cluster.ran().count("joined") == 2


def test_failure_on_a_worker_is_told_in_its_own_words(cluster: Cluster, project: Project) -> None:
    project.settings(trouble="machine")
    done = project.doit(*cluster.arguments(), **cluster.shared)
    assert done.returncode == 3
    assert "there is no compiler; install one" in done.stdout
    assert not (project.folder / "out/joined.txt").exists()


def test_worker_with_other_sources_is_refused(cluster: Cluster, project: Project) -> None:
    (project.folder / "scripts/toy_words.py").write_text('"""Words."""\nJOINER = "-"\n')
    done = project.doit(*cluster.arguments(), **cluster.shared)
    assert done.returncode == 1
    assert "the worker is not like the controller: source text of scripts.toy_words" in done.stdout


def test_worker_keeps_no_failure_that_was_recorded(
    cluster: Cluster, project: Project, tmp_path: Path
) -> None:
    """What is not settled reaches who asked for it, and no other: it has no record in the store."""
    project.settings(trouble="unsettled")
    done = project.doit(*cluster.arguments(), **cluster.shared)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (project.folder / "out/joined.txt").read_text() == "failed"
    keys = {path.name for path in (tmp_path / "shared/ac").iterdir()}
    built = read_record(project.folder / "out/joined.txt")
    assert len(keys) == 2
    assert built is not None
    assert built.key not in keys


def test_worker_whose_sources_change_while_it_lives(cluster: Cluster, project: Project) -> None:
    assert project.doit(*cluster.arguments(), **cluster.shared).returncode == 0
    for one in (project, *(worker for _, worker in cluster.workers)):
        (one.folder / "scripts/toy_words.py").write_text('JOINER = "-"')
    done = project.doit(*cluster.arguments(), **cluster.shared)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (project.folder / "out/joined.txt").read_text() == "hello-world"
    (project.folder / "scripts/toy_words.py").write_text('JOINER = "+"')
    done = project.doit(*cluster.arguments(), **cluster.shared)
    assert done.returncode == 1
    assert "the worker is not like the controller: source text of scripts.toy_words" in done.stdout


def test_no_op_starts_no_cluster(project: Project, tmp_path: Path) -> None:
    assert project.doit().returncode == 0
    shutil.rmtree(tmp_path / "shared", ignore_errors=True)
    arguments = ["--engine", "dask", "--scheduler", "tcp://127.0.0.1:9"]
    done = project.doit(*arguments, QUANTMAKE_STORE=str(tmp_path / "shared"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "Nothing to do: 5 tasks are up to date.\n"


def test_scheduler_that_cannot_be_reached(
    project: Project, tmp_path: Path, undisturbed: str
) -> None:
    arguments = ["--engine", "dask", "--scheduler", "tcp://127.0.0.1:9"]
    done = project.doit(*arguments, QUANTMAKE_STORE=str(tmp_path / "shared"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the Dask scheduler tcp://127.0.0.1:9 can't be reached" in done.stdout
    assert (project.folder / "out/SHA256SUMS").read_text() == undisturbed


def test_cluster_that_speaks_tls_alone(tmp_path: Path, undisturbed: str) -> None:
    """Who reaches a scheduler runs code on its workers: here only who has the certificate does."""
    pytest.importorskip("cryptography")
    settings = certificate(tmp_path / "keys")
    with started(tmp_path, 1, settings) as cluster:
        assert cluster.address.startswith("tls://127.0.0.1:")
        project = make_project(tmp_path / "project")
        done = project.doit(*cluster.arguments(), **cluster.shared)
        assert done.returncode == 0, done.stdout + done.stderr
        assert cluster.ran() == ["joined", "words", "words"]
        assert (project.folder / "out/SHA256SUMS").read_text() == undisturbed
        stranger = make_project(tmp_path / "stranger")
        shared = {"QUANTMAKE_STORE": str(tmp_path / "other")}
        done = stranger.doit(*cluster.arguments(), **shared)
        assert "can't be reached" in done.stdout
        assert cluster.ran() == []
