"""`hf:` sources: a model on the Hugging Face hub at one commit, checked by the hub's digests.

Files go through the hub client's own cache (`HF_HOME`), so that a model which is already there
is not downloaded again and `HF_HUB_OFFLINE=1` works. HF_ENDPOINT and HF_TOKEN are the client's.
"""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from scripts.errors import MachineError, QuantmakeError, RecipeError
from scripts.progress import track
from scripts.sources.digest import git_blob_sha1, sha256_of_file
from scripts.sources.model_files import needed_files
from scripts.sources.place import place
from scripts.sources.redact import redact
from scripts.sources.schemes import HubSource, parse_hub

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubFile:
    """A file of a repository: its digest is a SHA-256 (LFS) or a git blob's SHA-1, by length."""

    name: str
    size: int | None
    digest: str


def fetch(source: str, out: Path, code: bool) -> None:
    """Write the needed files of the repository, or its one file, into `out`."""
    from huggingface_hub import constants

    wanted = parse_hub(source)
    if not _COMMIT.fullmatch(wanted.revision):
        raise _not_a_commit(wanted)
    if constants.HF_HUB_OFFLINE:
        _fetch_offline(wanted, out, code)
        return
    for file in track(_chosen(wanted, _listing(wanted), code), "downloading"):
        target = out / PurePosixPath(file.name).name
        place(_download(wanted, file.name), target)
        _verify(wanted, file, target)


def _listing(wanted: HubSource) -> dict[str, HubFile]:
    """All files of the repository at the commit, by name."""
    from huggingface_hub import HfApi

    try:
        info = HfApi().model_info(
            wanted.repository, revision=wanted.revision, files_metadata=True, timeout=30
        )
    except Exception as error:  # the client's own, requests' and urllib3's
        raise _explained(wanted, error) from None
    files = {}
    for entry in info.siblings or []:
        digest = entry.lfs.sha256 if entry.lfs else entry.blob_id
        files[entry.rfilename] = HubFile(entry.rfilename, entry.size, digest or "")
    return files


def _chosen(wanted: HubSource, files: dict[str, HubFile], code: bool) -> list[HubFile]:
    where = f"hf:{wanted.repository}"
    if wanted.file is not None:
        if wanted.file not in files:
            raise QuantmakeError(
                f"{where} has no file {wanted.file!r} at {wanted.revision[:12]}; it has "
                f"{', '.join(sorted(files))}"
            )
        return [files[wanted.file]]
    return [files[name] for name in needed_files(files, where, code=code)]


def _download(wanted: HubSource, name: str) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(wanted.repository, name, revision=wanted.revision))
    except Exception as error:  # the client's own, requests' and urllib3's
        raise _explained(wanted, error) from None


def _verify(wanted: HubSource, file: HubFile, path: Path) -> None:
    digest = sha256_of_file(path) if len(file.digest) == 64 else git_blob_sha1(path)
    if digest != file.digest:
        raise QuantmakeError(
            f"hf:{wanted.repository}: {file.name} is not what the hub lists: it lists the digest "
            f"{file.digest or '(none)'}, but the file ({path.stat().st_size:,} bytes) has "
            f"{digest}. Delete it from the hub's cache (`huggingface-cli delete-cache`) and run "
            "doit again."
        )


def _fetch_offline(wanted: HubSource, out: Path, code: bool) -> None:
    """Take the files from the hub's cache, where the name of each blob is its digest."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(
            snapshot_download(wanted.repository, revision=wanted.revision, local_files_only=True)
        )
    except LocalEntryNotFoundError:
        raise MachineError(
            f"hf:{wanted.repository}@{wanted.revision} is not in the hub's cache, and "
            "HF_HUB_OFFLINE=1 forbids to download it; unset the variable, or download it first"
        ) from None
    paths = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    files = {name: HubFile(name, None, path.resolve().name) for name, path in paths.items()}
    for file in _chosen(wanted, files, code):
        target = out / PurePosixPath(file.name).name
        place(paths[file.name], target)
        _verify(wanted, file, target)


def _not_a_commit(wanted: HubSource) -> RecipeError:
    """The error for a branch or a tag; it names the commit where the hub can be asked."""
    from huggingface_hub import HfApi

    file = f"/{wanted.file}" if wanted.file else ""
    problem = f"hf:{wanted.repository} is at {wanted.revision!r}, which may move"
    try:
        now = HfApi().model_info(wanted.repository, revision=wanted.revision, timeout=10).sha
    except Exception:  # whatever the reason, the commit is unknown
        now = None
    if now is None:
        return RecipeError(
            f"{problem}; write the full commit, 40 hexadecimal digits, as the page of the "
            f"repository shows it: hf:{wanted.repository}@COMMIT{file}"
        )
    return RecipeError(f"{problem}; it is now at this commit: hf:{wanted.repository}@{now}{file}")


def _explained(wanted: HubSource, error: Exception) -> QuantmakeError:
    from huggingface_hub import errors

    where = f"hf:{wanted.repository}@{wanted.revision}"
    if isinstance(error, errors.GatedRepoError):
        return QuantmakeError(
            f"{where} is gated: accept its terms on its page, and put a token of that account "
            "into HF_TOKEN"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return QuantmakeError(f"{where}: the repository has no such commit")
    if isinstance(error, errors.RepositoryNotFoundError):
        return QuantmakeError(
            f"{where}: the hub knows no such repository, or it is private and HF_TOKEN holds no "
            "token that may read it"
        )
    if isinstance(error, errors.HfHubHTTPError) and error.response is not None:
        status = f"the hub answered {error.response.status_code} {error.response.reason}"
        return MachineError(f"{where}: {status}; run doit again later")
    said = f"{type(error).__name__}: {redact(str(error))}"
    return MachineError(
        f"{where}: the hub can't be reached ({said}); look at the network, the proxy and "
        "HF_ENDPOINT, or set HF_HUB_OFFLINE=1 to use what is in its cache"
    )
