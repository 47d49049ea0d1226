"""Digests agree with coreutils and git."""

import subprocess
from pathlib import Path

from scripts.sources.digest import git_blob_sha1, sha256_of_folder


def test_a_folders_digest_is_that_of_sha256sums_lines(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("b.txt", "a.json", "sub/c", "Z"):
        (tmp_path / name).write_text(name)
    shell = (
        "find . -type f -printf '%P\\n' | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -c-64"
    )
    said = subprocess.check_output(shell, shell=True, cwd=tmp_path, text=True)
    assert sha256_of_folder(tmp_path) == said.strip()


def test_a_blobs_name_is_gits(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"hello\n")
    assert git_blob_sha1(tmp_path / "a") == "ce013625030ba8dba906f756967f9e9ca394464a"
