"""`generate` of optimum's ORTModelForCausalLM, timed: the process that `decode_speed` starts in the
environment of the older exporters, which has optimum.

    python -m scripts.benchmarks.generate_speed FOLDER THREADS

Reads lines of JSON, `{"prompt": [ids], "tokens": n}`, and answers each by tokens per second.
"""

import json
import sys
import time


class Clock:
    """A streamer of `generate`: when each token came, the prompt's call left out."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, _: object) -> None:
        """Called with the prompt, then with each token."""
        self.times.append(time.perf_counter())

    def end(self) -> None:
        """Called once after the last token."""


def main(folder: str, threads: int) -> None:
    """Answer until there are no more lines."""
    import onnxruntime as ort
    import torch
    from optimum.onnxruntime import ORTModelForCausalLM

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    model = ORTModelForCausalLM.from_pretrained(folder, session_options=options)
    for line in sys.stdin:
        asked = json.loads(line)
        clock, count, ids = Clock(), asked["tokens"] + 1, torch.tensor([asked["prompt"]])
        model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            min_new_tokens=count,
            max_new_tokens=count,
            do_sample=False,
            streamer=clock,
        )
        _, first, *_, last = clock.times
        print(json.dumps(asked["tokens"] / (last - first)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
