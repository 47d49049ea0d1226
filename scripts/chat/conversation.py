"""A conversation with one artefact: reads lines, prints answers as they come."""

import sys
import time

from rich.console import Console

from scripts.chat.answer import Sampling
from scripts.chat.speaker import Speaker
from scripts.errors import QuantmakeError

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
