"""An answer of a model, token by token, as text that can be printed piece by piece."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scripts.backends.model import Logits, Model

_HALF = "\ufffd"  # what a tokenizer gives for bytes that are no whole character yet


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen: temperature 0 takes the most likely one."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    max_tokens: int = 256


def chooser(sampling: Sampling) -> Callable[[Logits], int]:
    """Chooses a token from logits [vocabulary]; top-p is nucleus sampling (arXiv:1904.09751)."""
    if sampling.temperature <= 0:
        return lambda logits: int(logits.argmax())
    generator = np.random.default_rng(sampling.seed)

    def choose(logits: Logits) -> int:
        scaled = logits.astype(np.float64) / sampling.temperature
        weights = np.exp(scaled - scaled.max())
        order = np.argsort(-weights, kind="stable")
        kept = order[: int((weights[order].cumsum() < sampling.top_p * weights.sum()).sum()) + 1]
        return int(generator.choice(kept, p=weights[kept] / weights[kept].sum()))

    return choose


def answer(
    model: Model, prompt: Sequence[int], stop: Sequence[int], sampling: Sampling
) -> Iterator[int]:
    """Token ids after `prompt`, up to a stop token or as many as `sampling` allows."""
    choose = chooser(sampling)
    logits = model.prefill(np.array(prompt, np.int64))
    for place in range(sampling.max_tokens):
        token = choose(logits)
        if token in stop:
            return
        yield token
        if place + 1 < sampling.max_tokens:
            logits = model.decode(token)


def pieces(tokens: Iterator[int], tokenizer: Any) -> Iterator[str]:
    """The text of a stream of token ids, in pieces that never end within a character."""
    ids: list[int] = []
    shown = ""
    for token in tokens:
        ids.append(token)
        text = tokenizer.decode(ids, skip_special_tokens=True)
        if not text.endswith(_HALF) and len(text) > len(shown):
            yield text[len(shown) :]
            shown = text
    rest = tokenizer.decode(ids, skip_special_tokens=True)[len(shown) :] if ids else ""
    if rest:
        yield rest
