"""All artefacts answer one prompt; what departs from FP16's answer is marked as it comes."""

import contextlib

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from scripts.chat.answer import Sampling
from scripts.chat.speaker import Speaker
from scripts.errors import QuantmakeError
from scripts.recipe.recipe import Recipe, Row
from scripts.report.samples import parted

_NAMES = 24
_DEPARTS = "bold yellow"


def compare(recipe: Recipe, rows: list[Row], prompt: str, sampling: Sampling) -> int:
    """Ask each in turn, the FP16 base first; 1 where one could not answer."""
    console = Console(highlight=False, markup=False, emoji=False)
    base: str | None = None
    failed = 0
    for row in rows:
        try:
            answer = _ask(console, recipe, row, prompt, sampling, base)
        except QuantmakeError as error:
            failed += 1
            _print(console, row, Text(f"({error})", "red"))
            continue
        if row is rows[0]:
            base = answer
        if not console.is_terminal:
            _print(console, row, Text(answer.strip()))
    return 1 if failed else 0


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
