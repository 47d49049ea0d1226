"""The Hugging Face hub as a place: a repository of models, written by one commit at the end.

Large files go first, into the hub's storage, where no revision shows them; those that are there
are not sent again. HF_ENDPOINT, HF_TOKEN and the cache of the token are the client's.
"""

import logging
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2

from scripts.errors import MachineError, QuantmakeError
from scripts.publish.package import SUMS, Package, Piece, names_in
from scripts.sources.digest import git_blob_sha1
from scripts.sources.redact import redact

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, HfApi

_MAIN = "main"
_PAUSES_S = (2.0, 10.0)
"""Between the tries, where the hub or the network fails."""

_FAILURES = (OSError, ValueError, RuntimeError, httpx2.HTTPError)
"""The client's own errors are OSErrors, the network's those of httpx2 or, below its storage's own
protocol, OSErrors; it says by the others what a server sent."""


@dataclass(frozen=True)
class Listing:
    """A revision of a repository: its commit, whether it is private, and of each file the digest
    that the hub has of it: SHA-256 (LFS) or git's SHA-1."""

    commit: str
    private: bool
    digests: dict[str, str]


@dataclass(frozen=True)
class HubRepository:
    """A branch of a repository. A new one is private unless `public` opens it, once all is there;
    one that is there keeps who may read it."""

    repository: str
    branch: str
    public: bool

    def __str__(self) -> str:
        return f"hf:{self.repository}" + ("" if self.branch == _MAIN else f"@{self.branch}")

    def missing(self, package: Package) -> tuple[Piece, ...] | None:
        """As `Place.missing`. Raises QuantmakeError for a refusal, MachineError for the network."""
        api = self._client()
        try:
            listing = self._listing(api)
            if listing is None:
                return package.files
            missing = _missing(package, listing)
            is_done = not missing and not self._gone(api, package, listing)
            return None if is_done and not (self.public and listing.private) else missing
        except _FAILURES as error:
            raise self._explained(error) from None

    def send(self, package: Package) -> str:
        """As `Place.send`; tried again where the hub fails for a moment. Every step may be done
        twice: after a commit whose answer was lost, there is nothing more to send."""
        api = self._client()
        for pause in (*_PAUSES_S, None):
            try:
                self._send(api, package)
                return f"{api.endpoint}/{self.repository}" + (
                    "" if self.branch == _MAIN else f"/tree/{self.branch}"
                )
            except _FAILURES as error:
                if pause is None or not _is_of_the_moment(_cause(error)):
                    raise self._explained(error) from None
                time.sleep(pause)
        raise AssertionError("the last try returns or raises")

    def _client(self) -> "HfApi":
        from huggingface_hub import HfApi, get_token
        from huggingface_hub.utils.tqdm import disable_progress_bars

        # Its warnings name addresses that are signed to be written to.
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
        if not sys.stderr.isatty():
            disable_progress_bars()
        if get_token() is None:
            raise MachineError(
                f"{self}: there is no token of the hub: put one that may write into HF_TOKEN, or "
                "run `.venv/bin/hf auth login`"
            )
        return HfApi()

    def _listing(self, api: "HfApi") -> Listing | None:
        """What the branch has; None where there is no such repository or branch yet."""
        from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
        from huggingface_hub.hf_api import RepoFile

        try:
            info = api.model_info(self.repository, revision=self.branch, timeout=30)
            tree = api.list_repo_tree(self.repository, recursive=True, revision=info.sha)
            files = [one for one in tree if isinstance(one, RepoFile)]
        except (RepositoryNotFoundError, RevisionNotFoundError):
            return None
        digests = {one.path: one.lfs.sha256 if one.lfs else one.blob_id for one in files}
        return Listing(str(info.sha), bool(info.private), digests)

    def _gone(self, api: "HfApi", package: Package, listing: Listing) -> list[str]:
        """What an earlier publication put there and this one has no more; nothing of others."""
        if SUMS not in listing.digests:
            return []
        with tempfile.TemporaryDirectory() as folder:
            path = api.hf_hub_download(
                self.repository, SUMS, revision=listing.commit, local_dir=folder
            )
            known = names_in(Path(path).read_text(encoding="utf-8", errors="replace"))
        return sorted((known & set(listing.digests)) - {piece.name for piece in package.files})

    def _send(self, api: "HfApi", package: Package) -> None:
        from huggingface_hub import CommitOperationDelete

        listing = self._listing(api) or self._made(api)
        additions = [_addition(piece) for piece in _missing(package, listing)]
        gone = [CommitOperationDelete(name) for name in self._gone(api, package, listing)]
        if additions or gone:
            api.create_commit(
                self.repository,
                operations=[*additions, *gone],
                commit_message=f"{package.title}: {package.artifact}, made by quantmake",
                revision=self.branch,
                # What somebody else committed since is not overwritten unseen.
                parent_commit=listing.commit,
            )
        if self.public and listing.private:
            api.update_repo_settings(self.repository, private=False)

    def _made(self, api: "HfApi") -> Listing:
        """Make the repository and the branch, which starts at the first commit: empty."""
        api.create_repo(self.repository, private=True, exist_ok=True)
        if self.branch != _MAIN:
            first = api.list_repo_commits(self.repository)[-1].commit_id
            api.create_branch(self.repository, branch=self.branch, revision=first, exist_ok=True)
        listing = self._listing(api)
        if listing is None:
            raise QuantmakeError(
                f"{self}: the hub made the repository, and this token can't read it: it needs the "
                "right to read and to write that repository"
            )
        return listing

    def _explained(self, error: Exception) -> QuantmakeError:
        from huggingface_hub import errors

        cause = _cause(error)
        response = getattr(cause, "response", None)
        status = response.status_code if response is not None else None
        if status == 401 or isinstance(cause, errors.RepositoryNotFoundError):
            return QuantmakeError(
                f"{self}: the hub does not accept the token (401): it is none, or it was revoked. "
                "Put one that may write into HF_TOKEN."
            )
        if status == 403:
            return QuantmakeError(
                f"{self}: the token may not write there (403): take one with the right to write to "
                f"the repositories of {self.repository.partition('/')[0]}, in HF_TOKEN"
            )
        if status in (409, 412):
            return QuantmakeError(
                f"{self}: somebody else committed there meanwhile ({status}); look at it, then run "
                "the same command again"
            )
        said = redact(str(cause)).strip()
        if status is not None and status < 500 and status != 429:
            return QuantmakeError(f"{self}: the hub refused it ({status}): {_in_one_line(said)}")
        if isinstance(cause, ValueError):
            return QuantmakeError(f"{self}: {_in_one_line(said)}")
        told = f"{type(cause).__name__}: {_in_one_line(said)}"
        reason = f"the hub answered {status}" if status else f"the hub can't be reached ({told})"
        return MachineError(
            f"{self}: {reason}; look at the network, the proxy and HF_ENDPOINT. What was sent is "
            "kept: the same command goes on."
        )


def _missing(package: Package, listing: Listing) -> tuple[Piece, ...]:
    return tuple(piece for piece in package.files if not _is_there(piece, listing))


def _is_there(piece: Piece, listing: Listing) -> bool:
    digest = listing.digests.get(piece.name, "")
    return digest == (piece.sha256 if len(digest) == 64 else git_blob_sha1(piece.path))


def _addition(piece: Piece) -> "CommitOperationAdd":
    """The client hashes the file once more: what changed since it was verified does not go."""
    from huggingface_hub import CommitOperationAdd

    addition = CommitOperationAdd(piece.name, piece.path)
    if addition.upload_info.sha256.hex() != piece.sha256:
        raise QuantmakeError(f"{piece.path} was changed while it was sent; run doit, then again")
    return addition


def _cause(error: BaseException) -> BaseException:
    """What an upload in a thread failed for."""
    while isinstance(error, RuntimeError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _is_of_the_moment(error: BaseException) -> bool:
    """Whether trying again may help: the network, or the hub itself."""
    response: Any = getattr(error, "response", None)
    if response is not None:
        return bool(response.status_code >= 500 or response.status_code == 429)
    return isinstance(error, httpx2.TransportError | ConnectionError | TimeoutError)


def _in_one_line(text: str) -> str:
    return " ".join(text.split())
