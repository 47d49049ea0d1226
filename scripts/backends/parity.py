"""Whether a float model predicts what the base does; where not, nothing is quantised from it.

    python -m scripts.backends.parity BACKEND FILES BASE

Exit code 1, and a text for people, where it does not.
"""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scripts.backends.float_gate import ERROR
from scripts.backends.table import BACKENDS
from scripts.errors import QuantmakeError
from scripts.lean import start_lean
from scripts.tensors.header import tensors_in

if TYPE_CHECKING:
    from scripts.backends.model import Logits, Model, Tokens

IN_NO_KEY = "it looks at what was made; the bytes are those of the exporter"

TEXT = """The lighthouse keeper wrote every evening, in a book with 365 pages, what he had seen: two
ships bound for Lisbon, a seal on the rocks, rain from the north-west at 17:40. "Nothing happens
here," he told the girl who brought bread on Tuesdays, "and I have written down all of it." She read
a page aloud. It said that the fog had come in like wool, that the lamp had burnt 3.5 litres of oil,
and that somebody, far out, had answered his signal with a single light. Who was it? He never knew;
perhaps a fisherman, perhaps the moon. def answer(signal): return [one for one in signal if one]
"""
"""Words, numbers, punctuation and code, so that the tokens are of many kinds."""

_SHORT, _BEYOND, _DECODED, _CHUNK = 256, 48, 16, 256
_SPREAD = 128  # tokens of the whole text whose logits are compared, and
_LAST = 32  # so many at the end of the prefill
_MOST_OPERATIONS = 6e12  # of a pass over the text: half a minute to a minute on a core
_WORST = 10  # times as much as on average may a single token's logits differ
_SWITCHED = 0.02  # of the tokens may go to other experts than the base's
_ROUTED = ("num_experts_per_tok", "experts_per_token", "top_k_experts")


@dataclass(frozen=True)
class Difference:
    """How logits differ from the base's, token by token; all [tokens].

    `error` is the root mean square over the vocabulary, the means taken out, relative to the base's
    own; `kld` is in nats.
    """

    positions: NDArray[np.int64]
    error: NDArray[np.float64]
    kld: NDArray[np.float64]
    agrees: NDArray[np.bool_]


@dataclass(frozen=True)
class Turns:
    """Where a model begins to compute otherwise, in tokens; 0 where it does not.

    `window` is that of its sliding attention, `original` the context that its rotary embedding was
    trained for, `rope` the kind of its scaling. `routed`: a router sends tokens to experts.
    """

    window: int = 0
    original: int = 0
    rope: str = ""
    longest: int = 0
    routed: bool = False

    @classmethod
    def of(cls, base: Path) -> "Turns":
        """As the base's config.json says."""
        config = json.loads((base / "config.json").read_text(encoding="utf-8"))
        config = config.get("text_config", config)
        scaling = config.get("rope_scaling") or config.get("rope_parameters") or {}
        scaling = scaling.get("full_attention", scaling)
        name = "original_max_position_embeddings"
        return cls(
            window=config.get("sliding_window") or 0,
            original=config.get(name) or scaling.get(name) or 0,
            rope=str(scaling.get("rope_type") or scaling.get("type") or "").replace("default", ""),
            longest=config.get("max_position_embeddings") or config.get("n_positions") or _SHORT,
            routed=any(bool(config.get(name)) for name in _ROUTED),
        )

    def beyond(self) -> int:
        """The tokens that show all that it does."""
        turns = max(one for one in (0, self.window, self.original) if one < self.longest)
        return min(self.longest, max(_SHORT, turns + _BEYOND + _DECODED))


def refuse_other_predictions(backend: str, files: Path, base: Path) -> None:
    """Raise QuantmakeError where the float model in `files` does not predict what the base does,
    in a prefill and token by token with a KV cache; say how far the comparison went."""
    from scripts.backends.model import load_model
    from scripts.workers import available_cores

    turns, limit = Turns.of(base), BACKENDS[backend].float_model.rounding
    values = sum(tensor.values for tensor in tensors_in(base).values())
    wanted = turns.beyond()
    count = max(min(_SHORT, wanted), min(wanted, int(_MOST_OPERATIONS / (2 * values))))
    if count < wanted:
        print(
            f"compared with the base on {count} tokens: {wanted}, beyond the sliding window and "
            "the original context, would take too long for a model of this size"
        )
    tokens = tokens_of(base, count)
    model = load_model(backend, files, threads=available_cores(), context=count, lean=True)
    difference = compare(model, base, tokens)
    label = BACKENDS[backend].float_model.label
    print(
        f"{label} beside the base, {count} tokens: logits differ by {difference.error.mean():.1e} "
        f"of their spread (largest {difference.error.max():.1e}, allowed {limit:.0e}), KLD "
        f"{difference.kld.mean():.1e} nats, top-1 {difference.agrees.mean():.1%}",
        flush=True,
    )
    # Where two experts are nearly alike, rounding may switch them.
    worst = np.quantile(difference.error, 1 - _SWITCHED if turns.routed else 1)
    if difference.error.mean() > limit or worst > _WORST * limit:
        raise QuantmakeError(why(difference, turns, limit, label, count))


def tokens_of(base: Path, count: int) -> "Tokens":
    """`count` token ids of TEXT, over and over."""
    from scripts.texts import load_tokenizer

    return np.resize(np.array(load_tokenizer(base)(TEXT)["input_ids"], np.int64), count)


def compare(model: "Model", base: Path, tokens: "Tokens", decoded: int = _DECODED) -> Difference:
    """Beside the base: the last `decoded` of `tokens` [n] one by one, those before in pieces,
    each through the cache of what came before it."""
    import torch

    from scripts.calibration.decoder import Decoder

    before = len(tokens) - decoded
    spread = np.linspace(0, before - 1, _SPREAD).astype(np.int64)
    positions = np.unique([*spread, *range(before - _LAST, len(tokens))])
    with torch.inference_mode():
        wanted = Decoder(base).logits(torch.from_numpy(tokens)[None], positions.tolist())
    rows = [
        _row(want.astype(np.float64), got.astype(np.float64))
        for want, got in zip(wanted.numpy(), _logits(model, tokens, before, positions), strict=True)
    ]
    error, kld, agrees = map(np.array, zip(*rows, strict=True))
    return Difference(positions, error, kld, agrees)


def _logits(
    model: "Model", tokens: "Tokens", before: int, at: NDArray[np.int64]
) -> "Iterator[Logits]":
    starts = [*range(0, before, _CHUNK), *range(before, len(tokens))]
    for start, end in zip(starts, [*starts[1:], len(tokens)], strict=True):
        logits = model.extend(tokens[start:end], anew=start == 0)
        yield from logits[at[(at >= start) & (at < end)] - start]


def _row(want: NDArray[np.float64], got: NDArray[np.float64]) -> tuple[float, float, bool]:
    if want.shape != got.shape:
        raise QuantmakeError(
            f"it has a vocabulary of {got.shape[-1]}, the base {want.shape[-1]}: the exporter took "
            "another size than the embedding's, and quantises another model"
        )
    centred, difference = want - want.mean(), (got - got.mean()) - (want - want.mean())
    error = np.sqrt((difference**2).mean() / max((centred**2).mean(), np.finfo(np.float64).tiny))
    log_p, log_q = (x - x.max() - np.log(np.exp(x - x.max()).sum()) for x in (want, got))
    kld = float((np.exp(log_p) * (log_p - log_q)).sum())
    return float(error), kld, bool(want.argmax() == got.argmax())


def why(seen: Difference, turns: Turns, limit: float, label: str, count: int) -> str:
    """What is wrong, where it begins, the likely cause, and what can be done."""
    decoded = seen.positions >= count - _DECODED
    wrong = seen.error > limit
    first = int(seen.positions[wrong][0])
    within = f"the context of {turns.original} that it was trained for"
    scaled = f"rope scaling (`rope_scaling`, {turns.rope}), which the exporter computes otherwise"
    if not wrong[~decoded].any():
        cause = "it begins with the first token after the prefill: the KV cache"
    elif first == 0:  # which sees no other, wherever it stands
        cause = "it begins at the first token: weights, norms, or logits that are scaled otherwise"
    elif turns.window and first >= turns.window:
        cause = (
            f"it begins at token {first}, beyond the sliding window of {turns.window}: the window, "
            "or which layers have it"
        )
    elif turns.original and first >= turns.original:
        cause = f"it begins at token {first}, beyond {within}: {scaled}"
    elif turns.rope:
        cause = f"it grows with the positions, from token {first} on: {scaled}"
    else:
        cause = (
            f"it begins at token {first}: the rotary embedding, the attention's mask, or which "
            "layers have which"
        )
    return (
        f"{label} does not predict what the base does: logits differ by {seen.error.mean():.2g} of "
        f"their spread on average, where rounding explains {limit:.0e}; KLD "
        f"{seen.kld.mean():.2g} nats, top-1 {seen.agrees.mean():.0%} of {len(seen.error)} tokens. "
        f"The likely cause, since {cause}. Everything that is quantised from it would be as wrong, "
        "so nothing is. Take the artefacts of this format out of the recipe; those of other "
        "formats are made from files of their own."
    )


def compare_or_say(compare: Callable[[str, Path, Path], None], given: list[str]) -> int:
    """Compare the float model of a command line with its base, and say what is wrong; the exit
    code."""
    backend, files, base = given
    try:
        compare(backend, Path(files), Path(base))
    except QuantmakeError as error:
        print(f"{ERROR}{error}")
        return error.exit_code
    except Exception as error:  # each runtime raises its own kinds
        label = BACKENDS[backend].float_model.label
        said = str(error).strip().splitlines() or [type(error).__name__]
        print(f"{ERROR}{label} can't be run: {said[-1]}")
        return QuantmakeError.exit_code
    return 0


if __name__ == "__main__":
    start_lean()
    sys.exit(compare_or_say(refuse_other_predictions, sys.argv[1:]))
