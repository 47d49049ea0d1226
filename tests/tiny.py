"""A tiny Llama that has learnt a tiny language: a real BPE tokenizer, made in seconds."""

import random
from pathlib import Path
from typing import Any

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content']"
    " + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_WHO = ["the miller", "a heron", "old Agnes", "the ferryman", "my neighbour", "the cat", "a clerk"]
_DOES = ["carries", "counts", "forgets", "paints", "sells", "borrows", "hides", "mends"]
_WHAT = ["nine apples", "the river", "a blue door", "letters", "42 lanterns", "some rope", "bread"]
_WHEN = ["at dawn", "before the rain", "every Tuesday", "in 1987", "without a word", "for luck"]


def tiny_lines(count: int, seed: int = 0) -> list[str]:
    """`count` lines of the tiny language, about 30 tokens each."""
    rng = random.Random(seed)

    def sentence() -> str:
        who, does = rng.choice(_WHO), rng.choice(_DOES)
        what = _WHAT[(_WHO.index(who) + _DOES.index(does) + rng.randrange(2)) % len(_WHAT)]
        return f"{who} {does} {what} {rng.choice(_WHEN)}."

    return [" ".join(sentence().capitalize() for _ in range(4)) for _ in range(count)]


def write_tiny_text(path: Path, count: int = 300, seed: int = 1) -> Path:
    """Write a text of `count` lines; calibration and evaluation take different lines of it."""
    path.write_text("\n".join(tiny_lines(count, seed)) + "\n")
    return path


def tiny_tokenizer(lines: list[str]) -> Any:
    """A BPE tokenizer of 512 tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    )
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        lines,
        trainers.BpeTrainer(
            vocab_size=512, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        unk_token="<|endoftext|>",
        pad_token="<|im_end|>",
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def make_tiny_base(
    folder: Path,
    *,
    hidden: int = 128,
    mlp: int | None = None,
    layers: int = 3,
    steps: int = 150,
    tied: bool = True,
) -> Path:
    """Write a Hugging Face folder (FP16 safetensors) of a Llama trained for `steps` steps.

    `hidden` is the model's width; heads are 32 wide, two query heads share a key-value head,
    and the MLP is twice as wide as the model, or `mlp` wide.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from scripts.workers import one_thread

    torch.manual_seed(0)
    lines = tiny_lines(2000)
    tokenizer = tiny_tokenizer(lines)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=512,
            hidden_size=hidden,
            intermediate_size=mlp or 2 * hidden,
            num_hidden_layers=layers,
            num_attention_heads=hidden // 32,
            num_key_value_heads=hidden // 64,
            max_position_embeddings=1024,
            tie_word_embeddings=tied,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=2,
        )
    )
    ids = torch.tensor(tokenizer("\n".join(lines))["input_ids"])
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    with one_thread():  # as fast at this size, and ten times as fast on a busy machine
        for _ in range(steps):
            starts = torch.randint(0, len(ids) - 65, (16,), generator=generator)
            batch = torch.stack([ids[s : s + 64] for s in starts.tolist()])
            loss = model(input_ids=batch, labels=batch).loss
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _put_as_bases_are(folder)
    return folder


def _put_as_bases_are(folder: Path) -> None:
    """Configurations in the words of transformers 4, as those of every base."""
    from scripts.base.config_json import read_json, write_json
    from scripts.base.transformers_5 import model_of_version_4, tokenizer_of_version_4

    write_json(folder / "config.json", model_of_version_4(read_json(folder / "config.json")))
    settings = tokenizer_of_version_4(read_json(folder / "tokenizer_config.json"))
    write_json(folder / "tokenizer_config.json", settings)
    special = {name: one for name, one in settings.items() if name.endswith("_token")}
    write_json(folder / "special_tokens_map.json", special)
