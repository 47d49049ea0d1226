"""`doit chat` and `doit compare` as people run them, on the tiny model."""

import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from fcntl import ioctl
from pathlib import Path

import pytest

from tests.checkout import Checkout, make_checkout

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture(scope="module")
def checkout(
    tiny_base: Path, tiny_f16: Path, tiny_text: Path, tmp_path_factory: pytest.TempPathFactory
) -> Checkout:
    """A checkout in which the base and two artefacts lie where a build puts them."""
    made = make_checkout(tmp_path_factory.mktemp("chat"), tiny_base, tiny_text)
    made.artifacts = {name: made.artifacts[name] for name in ("model.gguf", "model-q8_0.gguf")}
    made.write_recipe()
    shutil.copytree(tiny_base, made.folder / "cache/tiny/base")
    (made.folder / "quantized").mkdir()
    for place in ("cache/tiny/f16.gguf", "quantized/model.gguf", "quantized/model-q8_0.gguf"):
        shutil.copy(tiny_f16, made.folder / place)
    return made


class Terminal:
    """A `doit` on a pseudo-terminal of 80 columns."""

    def __init__(self, checkout: Checkout, *arguments: str) -> None:
        self._end, other = pty.openpty()
        ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "doit", *arguments],
            cwd=checkout.folder,
            env={**os.environ, "PYTHONPATH": str(checkout.folder), "TERM": "xterm-256color"},
            stdin=other,
            stdout=other,
            stderr=other,
            start_new_session=True,
        )
        os.close(other)
        self.text = ""

    def type(self, text: str) -> None:
        """As from the keyboard."""
        os.write(self._end, text.encode())

    def read_until(self, wanted: str, seconds: float = 60) -> str:
        """All that was shown up to and with `wanted`, without escapes; it is taken out."""
        limit = time.monotonic() + seconds
        while wanted not in _ESCAPES.sub("", self.text):
            ready, _, _ = select.select([self._end], [], [], max(0, limit - time.monotonic()))
            assert ready, self.text
            self.text += os.read(self._end, 4096).decode(errors="replace")
        shown = _ESCAPES.sub("", self.text)
        end = shown.index(wanted) + len(wanted)
        self.text = shown[end:]
        return shown[:end]

    def rest(self) -> str:
        """What is shown until the process ends."""
        while True:
            try:
                more = os.read(self._end, 4096)
            except OSError:
                break
            if not more:
                break
            self.text += more.decode(errors="replace")
        self.process.wait(60)
        return self.text


def say(checkout: Checkout, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`doit chat model.gguf` with `text` as its input."""
    return subprocess.run(
        [sys.executable, "-m", "doit", "chat", "model.gguf", "--max-tokens", "12", *arguments],
        cwd=checkout.folder,
        env={**os.environ, "PYTHONPATH": str(checkout.folder)},
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )


def test_lines_of_a_pipe_are_turns(checkout: Checkout) -> None:
    done = say(checkout, "the miller\nand then\n")
    assert done.returncode == 0, done.stderr
    once, twice = done.stdout.splitlines()
    assert once
    assert say(checkout, "the miller\n").stdout.splitlines() == [once]
    reset = say(checkout, "a heron\n/reset\nthe miller\n/exit\nnever said\n").stdout.splitlines()
    assert reset[1] == once
    assert len(reset) == 2
    assert twice != once or say(checkout, "and then\n").stdout.strip() != twice


def test_no_room_for_the_answer_is_told(checkout: Checkout) -> None:
    done = say(checkout, f"{'the miller ' * 700}\nthe miller\n")
    first, second = done.stdout.splitlines()
    assert re.search(r"has [\d,]+ tokens; with 12 for the answer it does not fit into 1,024", first)
    assert "/reset" in first
    assert second == say(checkout, "the miller\n").stdout.strip()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("chat", "model.ggu"), 2, "did you mean 'model.gguf'?"),
        (("chat",), 2, "takes one artefact"),
        (("chat", "model.gguf", "--recipe", "tny"), 2, "did you mean 'tiny'?"),
        (("chat", "model.gguf", "--temprature", "1"), 2, "option --temprature not recognized"),
        (("compare", "one", "two"), 2, "takes one prompt, in quotes"),
        (("compare", "one", "--only", "nothing"), 2, "is no artefact of recipes/tiny.yaml"),
    ],
)
def test_mistakes(checkout: Checkout, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = checkout.doit(*arguments)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_not_built_says_what_to_run(
    checkout: Checkout, tiny_base: Path, tmp_path: Path
) -> None:
    other = make_checkout(tmp_path, tiny_base, checkout.text)
    done = other.doit("chat", "quantized/model-int8/")
    assert done.returncode == 1
    assert "is not built yet; run `doit quantized/model-int8` first" in done.stderr


def test_terminal_streams_and_ctrl_c_stops_the_answer_alone(checkout: Checkout) -> None:
    shell = Terminal(checkout, "chat", "base", "--max-tokens", "900")
    shell.read_until("> ")
    shell.type("the miller\n")
    shell.read_until("the miller\r\n")
    shell.read_until(" ")
    os.killpg(shell.process.pid, signal.SIGINT)
    assert "tokens/s, the first after" in shell.read_until("the first after")
    shell.read_until("> ")
    shell.type("/exit\n")
    shell.rest()
    assert shell.process.returncode == 0


def test_compare_fits_80_columns(checkout: Checkout) -> None:
    shell = Terminal(checkout, "compare", "the miller", "--max-tokens", "60")
    shown = shell.rest()
    assert shell.process.returncode == 0
    plain = _ESCAPES.sub("", shown)
    assert max(map(len, plain.splitlines())) <= 80
    assert all(name in plain for name in ("base", "f16.gguf", "model.gguf", "model-q8_0.gguf"))


def test_compare_elsewhere_is_a_line_each_and_failures_do_not_stop_it(checkout: Checkout) -> None:
    good = checkout.folder / "quantized/model.gguf"
    aside = good.rename(good.with_name("aside"))
    good.write_bytes(b"GGUF")
    try:
        done = checkout.doit("compare", "the miller", "--only", "model.gguf,model-q8_0.gguf")
    finally:
        aside.rename(good)
    assert done.returncode == 1
    base, broken, eight = done.stdout.splitlines()
    assert broken.startswith("model.gguf: (quantized/model.gguf does not load (gguf): llama.cpp")
    assert base.removeprefix("base: ") == eight.removeprefix("model-q8_0.gguf: ")
    assert ".." not in done.stderr  # llama.cpp shows by dots how far it has loaded


def test_what_departs_from_fp16_is_marked() -> None:
    from scripts.chat.conversation import marked

    text = marked("one two three", "one two four")
    assert text.plain == "one two four"
    (span,) = text.spans
    assert (text.plain[span.start : span.end], span.style) == ("four", "bold yellow")
    assert not marked(None, "one").spans
