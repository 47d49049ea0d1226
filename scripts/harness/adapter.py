"""An artefact as lm-evaluation-harness sees a model (lm_eval.api.model of lm-eval 0.4)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from lm_eval.api.model import TemplateLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from scripts.chat.answer import Sampling, answer
from scripts.chat.speaker import Speaker
from scripts.progress import Progress
from scripts.texts import bos_of

_MAX_TOKENS = 256  # tokens of a generated answer, where a task names no limit


class Artefact(TemplateLM):  # type: ignore[misc]
    """Texts in, log-likelihoods and completions out; token by token as the evaluation does it."""

    def __init__(self, speaker: Speaker, name: str) -> None:
        super().__init__()
        self.tokenizer = speaker.tokenizer
        self._name, self._speaker = name, speaker
        start = bos_of(speaker.tokenizer)
        self._start = [] if start is None else [start]

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text without context."""
        return self._start[0] if self._start else self.eot_token_id

    @property
    def tokenizer_name(self) -> str:
        """For the harness's cache of requests."""
        return self._name

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """The conversation as the text that the model is given."""
        text: str = self.tokenizer.apply_chat_template(
            chat_history,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )
        return text

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **_: object
    ) -> list[int]:
        """Token ids, with the model's own start unless `add_special_tokens` is false."""
        ids: list[int] = self.tokenizer(string, add_special_tokens=False)["input_ids"]
        starts = add_special_tokens is not False and ids[:1] != self._start
        return self._start * starts + ids

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], **_: object
    ) -> list[tuple[float, bool]]:
        bar = Progress(f"{self._name}: log-likelihoods", len(requests))
        scores = []
        for _texts, context, continuation in requests:
            scores.append(self._score(context, continuation))
            bar.advance()
        return scores

    def _score(self, context: list[int], continuation: list[int]) -> tuple[float, bool]:
        """The log-likelihood of `continuation`, and whether it is what greedy decoding gives.

        What does not fit into the model's context is left out at the beginning.
        """
        ids = np.array(context + continuation, np.int64)[-(self._speaker.context + 1) :]
        wanted = ids[-len(continuation) :]
        logits = self._speaker.model.scores(ids[:-1], len(ids) - 1 - len(wanted))
        exact = logits.astype(np.float64)
        top = exact.max(-1)
        logprobs = exact[np.arange(len(wanted)), wanted] - top
        logprobs -= np.log(np.exp(exact - top[:, None]).sum(-1))
        return float(logprobs.sum()), bool((exact.argmax(-1) == wanted).all())

    def loglikelihood_rolling(
        self, requests: Sequence[Any], disable_tqdm: bool = False
    ) -> list[float]:
        """The log-likelihood of whole texts, window by window without overlap."""
        return [
            sum(
                self._score(*make_disjoint_window(window))[0]
                for window in get_rolling_token_windows(
                    self.tok_encode(request.args[0], add_special_tokens=False),
                    self.prefix_token_id,
                    self._speaker.context,
                    1,
                )
            )
            for request in requests
        ]

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Greedy completions, each up to the first of its task's stop texts."""
        bar = Progress(f"{self._name}: answers", len(requests))
        texts = []
        for request in requests:
            prompt, settings = request.args
            texts.append(self._complete(prompt, settings))
            bar.advance()
        return texts

    def _complete(self, prompt: str, settings: dict[str, Any]) -> str:
        until = settings.get("until") or []
        stops = [until] if isinstance(until, str) else list(until)
        limit = int(settings.get("max_gen_toks") or settings.get("max_new_tokens") or _MAX_TOKENS)
        ids = self.tok_encode(prompt)[-max(1, self._speaker.context - limit) :]
        given: list[int] = []
        text = ""
        for token in answer(
            self._speaker.model, ids, self._speaker.stop, Sampling(max_tokens=limit)
        ):
            given.append(token)
            text = self.tokenizer.decode(given, skip_special_tokens=True)
            if any(stop in text for stop in stops if stop):
                break
        for stop in filter(None, stops):
            text = text.partition(stop)[0]
        return text
