"""The yardstick: the FP16 base's log-probabilities on the evaluation's text, computed once."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from scripts.backends.table import YARDSTICK, modules_of
from scripts.devices import Device
from scripts.footprints import FOOTPRINTS, Footprint
from scripts.progress import track
from scripts.stage import Stage

if TYPE_CHECKING:
    from scripts.backends.model import Scorer, Tokens
    from scripts.evaluation.multiple_choice import Item

PROMPTS = (
    "What is the capital of France, and what is it known for?",
    "Explain in two sentences why the sky is blue.",
    "Write a short poem about a lighthouse.",
)
NEW_TOKENS = 48
_ROWS = 32


class Reference(Stage):
    """Score the evaluation's texts with the FP16 base, in FP32

    `out` receives tokens.npy, int32 [n, context], where n is `windows` for each text; kinds.json;
    logprobs.npy, float32 [n, context / 2 - 1, vocabulary]; prompts.json; tasks.json where `tasks`
    names multiple-choice sets, whose files are the inputs `task/NAME`. The input `text` is of the
    kind `kind`; `others` are the lines of the inputs `text/KIND`. As in llama.cpp's
    llama-perplexity, positions context / 2 to context - 2 of each window predict the token that
    follows them.
    """

    lines: tuple[int, int]
    kind: str = "like-calibration"
    others: dict[str, tuple[int, int]] = Field(default_factory=dict)
    windows: int = 20
    context: int = 512
    prompts: tuple[str, ...] = PROMPTS
    tasks: tuple[str, ...] = ()
    device: Device = "cpu"
    linkable = True
    canonical = False

    def reaches(self) -> tuple[str, ...]:
        """What loads the base."""
        return modules_of(YARDSTICK)

    def takes(self) -> Footprint:
        """For the vocabulary of any size."""
        scored = self.windows * (1 + len(self.others)) * (self.context // 2 - 1)
        return FOOTPRINTS["reference"] + Footprint(disk_row=4 * scored)

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Raises QuantmakeError where the text is too short or the base's logits are broken."""
        import numpy as np
        import torch

        from scripts.backends.model import load_model
        from scripts.calibration.stand_ins import UnknownLayers
        from scripts.evaluation.by_layer import by_layer
        from scripts.evaluation.multiple_choice import read_items, sequences
        from scripts.texts import load_tokenizer
        from scripts.token_windows import write_kinds, write_windows
        from scripts.workers import available_cores

        tokenizer = load_tokenizer(inputs["base"])
        by_kind = {self.kind: self._cut(inputs["text"], self.lines, tokenizer, self.kind)}
        for kind, lines in self.others.items():
            by_kind[kind] = self._cut(inputs[f"text/{kind}"], lines, tokenizer, kind)
        windows = np.concatenate([*by_kind.values()])
        write_windows(out, windows)
        write_kinds(out, {kind: len(one) for kind, one in by_kind.items()})
        self._write_prompts(tokenizer, inputs["base"], out / "prompts.json")
        tasks = {name: read_items(inputs[f"task/{name}"], tokenizer, name) for name in self.tasks}
        torch.set_num_threads(available_cores())
        scored = [*windows.astype(np.int64)]
        asked = [one for items in tasks.values() for item in items for one in sequences(item)]
        try:
            with by_layer(inputs["base"], [*scored, *asked], out, self.device) as model:
                self._write_scores(scored, tasks, model, out)
        except UnknownLayers as reason:
            print(f"the whole model is held in memory: {reason}", flush=True)
            whole = load_model(
                YARDSTICK, inputs["base"], threads=available_cores(), context=self.context
            )
            self._write_scores(scored, tasks, whole, out)

    def _write_scores(
        self, windows: "list[Tokens]", tasks: "dict[str, list[Item]]", model: "Scorer", out: Path
    ) -> None:
        """Log-probabilities of each window's second half, and what the base chooses."""
        import torch

        from scripts.evaluation.multiple_choice import write_scored
        from scripts.evaluation.windowed import append_window

        for number, tokens in enumerate(track(windows, "scoring windows")):
            logits = torch.from_numpy(model.scores(tokens, self.context // 2)[:-1])
            for rows in torch.split(logits, _ROWS):  # in place: all of them are large
                rows.copy_(torch.log_softmax(rows, -1))
            append_window(out / "logprobs.npy", logits.numpy(), number=number, count=len(windows))
        if tasks:
            write_scored(tasks, model, out)

    def _cut(self, text: Path, lines: tuple[int, int], tokenizer: Any, kind: str) -> Any:
        """Windows of token ids [windows, context] of a text."""
        from scripts.texts import cut_windows, read_lines

        return cut_windows(
            "".join(read_lines(text, lines)),
            tokenizer,
            windows=self.windows,
            context=self.context,
            where=f"the evaluation's text ({kind})",
        )

    def _write_prompts(self, tokenizer: Any, base: Path, path: Path) -> None:
        """Each prompt with its token ids, the chat template applied where there is one."""
        entries = [
            {"prompt": one, "tokens": chat_ids(tokenizer, [{"role": "user", "content": one}])}
            for one in self.prompts
        ]
        data = {"prompts": entries, "stop": stop_tokens(base), "new_tokens": NEW_TOKENS}
        path.write_text(json.dumps(data, indent=1, sort_keys=True) + "\n")


def chat_ids(tokenizer: Any, messages: Sequence[dict[str, str]]) -> list[int]:
    """A conversation as token ids; without a chat template, the texts one after another."""
    if tokenizer.chat_template:
        ids = tokenizer.apply_chat_template(
            list(messages), add_generation_prompt=True, return_dict=False
        )
    else:
        ids = tokenizer("\n".join(one["content"] for one in messages))["input_ids"]
    return [int(token) for token in ids]


def stop_tokens(base: Path) -> list[int]:
    """The token ids that end the base's answers."""
    generation = base / "generation_config.json"
    config = json.loads((generation if generation.exists() else base / "config.json").read_text())
    stops = config.get("eos_token_id") or []
    return stops if isinstance(stops, list) else [stops]
