"""`hf:` sources: a model on the Hugging Face hub at one commit, checked by the hub's digests.

Files go through the hub client's own cache (`HF_HOME`), so that a model which is already there
is not downloaded again and `HF_HUB_OFFLINE=1` works. HF_ENDPOINT and HF_TOKEN are the client's.
"""

import re
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from scripts.errors import MachineError, QuantmakeError, RecipeError
from scripts.progress import track
from scripts.sources.digest import git_blob_sha1, sha256_of_file
from scripts.sources.local import place
from scripts.sources.model_files import needed_files
from scripts.sources.redact import redact
from scripts.sources.schemes import HubSource, parse_hub

_COMMIT = re.compile(r"[0-9a-f]{40}")


def fetch(source: str, out: Path, code: bool) -> None:
    """Write the needed files of the repository, or its one file, into `out`."""
    from huggingface_hub import constants

    wanted = parse_hub(source)
    if not _COMMIT.fullmatch(wanted.revision):
        raise _not_a_commit(wanted)
    digests = _cached(wanted) if constants.HF_HUB_OFFLINE else _listing(wanted)
    for name in track(_chosen(wanted, digests, code), "downloading"):
        target = out / PurePosixPath(name).name
        place(_download(wanted, name), target)
        _verify(wanted, name, digests[name], target)


def _listing(wanted: HubSource) -> dict[str, str]:
    """The hub's digests of all files at the commit: a SHA-256 (LFS) or a git blob's SHA-1."""
    from huggingface_hub import HfApi

    try:
        info = HfApi().model_info(
            wanted.repository, revision=wanted.revision, files_metadata=True, timeout=30
        )
    except Exception as error:  # the client's own, requests' and urllib3's
        raise _explained(wanted, error) from None
    return {
        entry.rfilename: (entry.lfs.sha256 if entry.lfs else entry.blob_id) or ""
        for entry in info.siblings or []
    }


def _cached(wanted: HubSource) -> dict[str, str]:
    """The same of the files in the hub's cache, where the name of each blob is its digest."""
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
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.resolve().name for path in paths}


def _chosen(wanted: HubSource, names: Collection[str], code: bool) -> list[str]:
    where = f"hf:{wanted.repository}"
    if wanted.file is None:
        return needed_files(names, where, code=code)
    if wanted.file not in names:
        raise QuantmakeError(
            f"{where} has no file {wanted.file!r} at {wanted.revision[:12]}; it has "
            f"{', '.join(sorted(names))}"
        )
    return [wanted.file]


def _download(wanted: HubSource, name: str) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(wanted.repository, name, revision=wanted.revision))
    except Exception as error:  # the client's own, requests' and urllib3's
        raise _explained(wanted, error) from None


def _verify(wanted: HubSource, name: str, listed: str, path: Path) -> None:
    digest = sha256_of_file(path) if len(listed) == 64 else git_blob_sha1(path)
    if digest != listed:
        raise QuantmakeError(
            f"hf:{wanted.repository}: {name} is not what the hub lists: it lists the digest "
            f"{listed or '(none)'}, but the file ({path.stat().st_size:,} bytes) has {digest}. "
            "Delete it from the hub's cache (`huggingface-cli delete-cache`) and run doit again."
        )


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
    refusals = {
        errors.GatedRepoError: " is gated: accept its terms on its page, and put a token of that "
        "account into HF_TOKEN",
        errors.RevisionNotFoundError: ": the repository has no such commit",
        errors.RepositoryNotFoundError: ": the hub knows no such repository, or it is private and "
        "HF_TOKEN holds no token that may read it",
    }
    for kind, text in refusals.items():
        if isinstance(error, kind):
            return QuantmakeError(f"{where}{text}")
    if isinstance(error, errors.HfHubHTTPError) and error.response is not None:
        status = f"the hub answered {error.response.status_code} {error.response.reason_phrase}"
        return MachineError(f"{where}: {status}; run doit again later")
    said = f"{type(error).__name__}: {redact(str(error))}"
    return MachineError(
        f"{where}: the hub can't be reached ({said}); look at the network, the proxy and "
        "HF_ENDPOINT, or set HF_HUB_OFFLINE=1 to use what is in its cache"
    )
