"""A conversation with one artefact, and one prompt that all artefacts answer."""

import contextlib
import sys
import time

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from scripts.chat.speaker import Sampling, Speaker
from scripts.errors import QuantmakeError
from scripts.recipe.recipe import Recipe, Row
from scripts.report.samples import parted

_HELP = "Ctrl-C stops an answer, /reset begins anew, /exit or Ctrl-D ends."


def converse(speaker: Speaker, sampling: Sampling, system: str) -> int:
    """Talk until the input ends; on a terminal with prompts, else answers alone."""
    console = Console(highlight=False, markup=False, soft_wrap=True)
    start = [{"role": "system", "content": system}] if system else []
    messages = list(start)
    if sys.stdin.isatty():
        console.print(_HELP, style="dim")
    while (line := _next_line()) is not None:
        if line in ("/exit", "/quit"):
            break
        if line == "/reset":
            messages = list(start)
        elif line:
            messages.append({"role": "user", "content": line})
            text = _answer(speaker, messages, sampling, console)
            if text is None:
                messages.pop()
            else:
                messages.append({"role": "assistant", "content": text})
    return 0


def _next_line() -> str | None:
    """A line without its end; None where the input ended. Ctrl-C at the prompt ends it too."""
    try:
        return input("> " if sys.stdin.isatty() else "").strip()
    except (EOFError, KeyboardInterrupt):
        return None


def _answer(
    speaker: Speaker, messages: list[dict[str, str]], sampling: Sampling, console: Console
) -> str | None:
    """Print an answer as it comes and return it; None where the conversation has no room for it."""
    pieces: list[str] = []
    started = time.perf_counter()
    first = started
    try:
        for piece in speaker.say(messages, sampling):
            first = first if pieces else time.perf_counter()
            pieces.append(piece)
            console.print(piece, end="")
    except KeyboardInterrupt:
        console.print(" …", end="")
    except QuantmakeError as error:
        console.print(f"{error}")
        return None
    console.print()
    text = "".join(pieces)
    if console.is_terminal and pieces:
        count = len(speaker.tokenizer(text, add_special_tokens=False)["input_ids"])
        seconds = max(time.perf_counter() - first, 1e-9)
        rate = f"{(count - 1) / seconds:,.0f} tokens/s, " if count > 1 else ""
        console.print(f"{count} tokens, {rate}the first after {first - started:.2f} s", style="dim")
    return text


_NAMES = 24
_DEPARTS = "bold yellow"


def compare(recipe: Recipe, rows: list[Row], prompt: str, sampling: Sampling) -> int:
    """Ask each in turn, the FP16 base first; 1 where one could not answer."""
    console = Console(highlight=False, markup=False, emoji=False)
    base: str | None = None
    failed = False
    for row in rows:
        try:
            answer = _ask(console, recipe, row, prompt, sampling, base)
        except QuantmakeError as error:
            failed = True
            _print(console, row, Text(f"({error})", "red"))
            continue
        if row is rows[0]:
            base = answer
        if not console.is_terminal:
            _print(console, row, Text(answer.strip()))
    return int(failed)


def _ask(
    console: Console, recipe: Recipe, row: Row, prompt: str, sampling: Sampling, base: str | None
) -> str:
    """One answer; on a terminal it is shown as it grows, and stays."""
    speaker = Speaker(recipe, row)
    answer = ""
    waiting = Live(_line(row, Text("…", "dim")), console=console, refresh_per_second=10)
    with waiting if console.is_terminal else contextlib.nullcontext() as live:
        for piece in speaker.say([{"role": "user", "content": prompt}], sampling):
            answer += piece
            if live is not None:
                live.update(_line(row, marked(base, answer)))
    return answer


def marked(base: str | None, answer: str) -> Text:
    """The answer, with what departs from the base's in another look."""
    if base is None:
        return Text(answer.strip())
    kept, changed = parted(base, answer)
    return Text.assemble(kept, (changed, _DEPARTS))


def _line(row: Row, text: Text) -> Table:
    """The row's name and label beside its answer."""
    grid = Table.grid(padding=(0, 2), pad_edge=False)
    grid.add_column(width=_NAMES, overflow="fold")
    grid.add_column(overflow="fold")
    grid.add_row(Text.assemble((row.name, "bold"), "\n", (row.label, "dim")), text)
    grid.add_row("", "")
    return grid


def _print(console: Console, row: Row, text: Text) -> None:
    if console.is_terminal:
        console.print(_line(row, text))
    else:
        console.print(f"{row.name}: {text.plain}", soft_wrap=True)
