"""mlx-lm in a process of its own environment: its transformers is another one than ours."""

import os
import signal
import subprocess
import tempfile
import weakref
from pathlib import Path
from typing import IO

import numpy as np

from scripts import extras
from scripts.backends.mlx import runner
from scripts.backends.mlx.runner import ANEW, ANSWER, APPEND, REQUEST, WHOLE
from scripts.backends.model import Logits, Tokens, check_finite
from scripts.errors import QuantmakeError

PYTHON = extras.environment_python("mlx")  # an ImportError where it is not set up
_LINES_SHOWN = 8
_PATIENCE_S = 10


class MlxModel:
    """A folder with weights in MLX's groups, or the base, which is read as it is."""

    def __init__(self, path: Path, threads: int, context: int, *, lean: bool = False) -> None:
        self._path = path
        with tempfile.TemporaryFile() as said:
            self._child = subprocess.Popen(
                [str(PYTHON), "-I", str(Path(runner.__file__)), str(path.resolve())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                env={**os.environ, "HF_HUB_OFFLINE": "1", "OPENBLAS_NUM_THREADS": str(threads)},
            )
            self._said = os.dup(said.fileno())  # read once the process has ended
        weakref.finalize(self, os.close, self._said)
        weakref.finalize(self, end, self._child)
        try:
            self._answer()
        except Ended as error:  # load_model names the folder
            raise QuantmakeError(str(error)) from None

    def scores(self, tokens: Tokens, first: int) -> Logits:
        """As `Model.scores`."""
        return self._run(WHOLE, tokens, first)

    def prefill(self, tokens: Tokens) -> Logits:
        """As `Model.prefill`."""
        last: Logits = self._run(ANEW, tokens, len(tokens) - 1)[0]
        return last

    def decode(self, token: int) -> Logits:
        """As `Model.decode`."""
        last: Logits = self._run(APPEND, np.array([token]))[0]
        return last

    def extend(self, tokens: Tokens, *, anew: bool = False) -> Logits:
        """As `Model.extend`."""
        return self._run(ANEW if anew else APPEND, tokens)

    def peak_rss_bytes(self) -> int:
        """The most memory that its process had (proc(5), VmHWM); 0 where that is not known."""
        try:
            status = Path(f"/proc/{self._child.pid}/status").read_text()
        except OSError:
            return 0
        lines = (line.split() for line in status.splitlines() if line.startswith("VmHWM:"))
        return next((1024 * int(words[1]) for words in lines), 0)

    def _run(self, kind: bytes, tokens: Tokens, first: int = 0) -> Logits:
        assert self._child.stdin is not None
        request = REQUEST.pack(kind, first, len(tokens)) + tokens.astype("<i4").tobytes()
        try:
            try:
                self._child.stdin.write(request)
                self._child.stdin.flush()
            except (OSError, ValueError):  # it is gone, or was found gone before
                raise self._ended() from None
            return check_finite(self._answer(), self._path)
        except Ended as error:
            raise QuantmakeError(f"{self._path}: {error}") from None

    def _answer(self) -> Logits:
        """Logits [rows, columns]. Raises Ended where the process says what is wrong, or ends."""
        rows, columns = ANSWER.unpack(self._read(ANSWER.size))
        if not columns:
            raise Ended(self._read(rows).decode(errors="replace"))
        values = np.frombuffer(self._read(4 * rows * columns), "<f4")
        logits: Logits = values.reshape(rows, columns)
        return logits

    def _read(self, size: int) -> bytearray:
        assert self._child.stdout is not None
        data = bytearray(self._child.stdout.read(size))
        if len(data) < size:
            raise self._ended()
        return data

    def _ended(self) -> "Ended":
        """How the process ended, and its last words."""
        end(self._child)
        code = self._child.returncode
        how = (
            f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        )
        said = os.pread(self._said, os.fstat(self._said).st_size, 0).decode(errors="replace")
        lines = [one for one in said.splitlines() if one]
        return Ended(f"the process of mlx-lm {how}{_quoted(lines)}")


class Ended(Exception):
    """Why the process gives no more answers."""


def _quoted(lines: list[str]) -> str:
    if not lines:
        return ", and said nothing"
    return "\n".join([":", *(f"  | {line}" for line in lines[-_LINES_SHOWN:])])


def end(child: "subprocess.Popen[bytes]") -> None:
    """Close what a process reads, wait, and end it by force where that is not enough."""
    for stream in (child.stdin, child.stdout):
        _close(stream)
    try:
        child.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _close(stream: "IO[bytes] | None") -> None:
    try:
        if stream is not None:
            stream.close()
    except OSError:  # a process that is gone takes no last words
        pass
