"""Fetch a source, and check that it is the one that the recipe pins."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from pydantic import field_validator

from scripts.errors import QuantmakeError, RecipeError
from scripts.forecast import Forecast, Inputs
from scripts.sources import hub, local, pypi, url
from scripts.sources.digest import sha256_of_file, sha256_of_folder
from scripts.sources.redact import redact
from scripts.sources.schemes import check_source, scheme_of
from scripts.stage import Stage
from scripts.tensors.outline import outline_of

# Each writes the source's files into a folder. A scheme that is not named here is a URL.
FETCHERS = {"pypi": pypi.fetch, "path": local.fetch, "hf": hub.fetch}


class Fetch(Stage):
    """Fetch a source and check its digest.

    `out` receives one file, or the files of a Hugging Face folder. `sha256` is the file's; for
    a folder it is the SHA-256 of the lines `<sha256>  <relative path>`, by path. Only `hf:`
    may leave it out: a commit and the hub's own digests pin it. Python files of a model come
    along only with `trust_remote_code`.
    """

    linkable = True
    shared = False
    source: str
    sha256: str | None = None
    trust_remote_code: bool = False

    @field_validator("sha256")
    @classmethod
    def _is_digest(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", value):
            raise ValueError(f"found {value!r}; a SHA-256 has 64 hexadecimal digits")
        return value and value.lower()

    def forecast(self, inputs: Inputs, target: Path) -> Forecast | None:
        """From the headers of the files, where they are on this machine."""
        where = target
        if scheme_of(self.source) == "path" and not target.exists():
            where = Path(self.source.removeprefix("path:"))
        outline = outline_of(where if where.is_dir() else where.parent)
        if outline is None:
            return None
        size = sum(path.stat().st_size for path in where.rglob("*") if path.is_file())
        return Forecast(100_000_000, size or where.stat().st_size, outline)

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Fetch into `out`, which is left empty where the digest is missing or another one."""
        check_source(self.source)
        try:
            fetch = FETCHERS.get(scheme_of(self.source), url.fetch)
            fetch(self.source, out, self.trust_remote_code)
            self._check_digest(out)
        except BaseException:
            for path in out.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            raise

    def _check_digest(self, out: Path) -> None:
        name = redact(self.source)
        files = [path for path in out.rglob("*") if path.is_file()]
        empty = sorted(path.name for path in files if path.stat().st_size == 0)
        if empty and len(files) == 1:
            raise QuantmakeError(f"{name}: {', '.join(empty)} is empty (0 bytes)")
        if self.sha256 is None and scheme_of(self.source) == "hf":
            return
        is_one = len(files) == 1 and files[0].parent == out
        digest = sha256_of_file(files[0]) if is_one else sha256_of_folder(out)
        if self.sha256 is None:
            raise RecipeError(
                f"{name} is not pinned. What was found has this digest; if you trust it, add the "
                f"line below to the recipe, under the source:\n  sha256: {digest}"
            )
        if digest != self.sha256:
            size = sum(path.stat().st_size for path in files)
            raise QuantmakeError(
                f"{name}: the digest differs. The recipe pins sha256 {self.sha256}, but what was "
                f"found ({size:,} bytes) has {digest}. Either the source was changed or cut short, "
                "or the recipe's digest is wrong: look at the source first, and write the new "
                "digest only if the change is meant."
            )
