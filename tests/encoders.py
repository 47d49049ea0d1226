"""A tiny seeded BERT in sentence-transformers' layout, with a WordPiece tokenizer of its own."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from tests.tiny import tiny_lines

WIDTH, LAYERS = 64, 2
_OUTLIER = 3
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
MODULES = ("Transformer", "Pooling", "Normalize")


def word_pieces(lines: list[str]) -> Any:
    """BERT's tokenizer, of 300 tokens, in lower case: characters, and the most frequent words. The
    library's trainer orders what is equally frequent by chance."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
    from tokenizers.processors import TemplateProcessing
    from transformers import BertTokenizerFast

    words = Counter(re.findall(r"\w+|[^\w\s]", " ".join(lines).lower()))
    letters = sorted(set().union(*words))
    listed = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters)]
    listed += sorted(words.keys() - set(letters), key=lambda word: (-words[word], word))
    vocabulary = {token: number for number, token in enumerate(listed[:300])}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return BertTokenizerFast(tokenizer_object=made, do_lower_case=True)


def write_pooling_files(folder: Path, modes: dict[str, bool], kinds: tuple[str, ...]) -> None:
    """As sentence-transformers writes them."""
    modules = [
        {"idx": n, "name": str(n), "path": f"{n}_{kind}" if n else "", "type": f"x.models.{kind}"}
        for n, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling/config.json").write_text(json.dumps(modes))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 48}))


_SIZES: dict[str, Any] = {
    "hidden_size": WIDTH,
    "intermediate_size": 2 * WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "max_position_embeddings": 66,
    "pad_token_id": 0,
}
_DISTILBERT = {"dim": WIDTH, "hidden_dim": 2 * WIDTH, "n_layers": LAYERS, "n_heads": 4}
_WINDOW = {"local_attention": 16, "global_attn_every_n_layers": 2, "embedding_size": WIDTH}
OTHER_FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "distilbert": ("DistilBert", {**_DISTILBERT, "max_position_embeddings": 66}),
    "electra": ("Electra", {**_SIZES, "embedding_size": WIDTH}),
    "modernbert": ("ModernBert", {**_SIZES, **_WINDOW, "reference_compile": False}),
    "mpnet": ("MPNet", _SIZES),
    "roberta": ("Roberta", _SIZES),
}
"""By model_type: how its classes' names begin, and its sizes."""


def make_encoder(kind: str, folder: Path) -> Path:
    """Write a tiny encoder of another family, with BERT's tokenizer and mean pooling."""
    import torch
    import transformers

    torch.manual_seed(0)
    tokenizer = word_pieces(tiny_lines(200))
    name, sizes = OTHER_FAMILIES[kind]
    config = getattr(transformers, f"{name}Config")(vocab_size=len(tokenizer), **sizes)
    model = getattr(transformers, f"{name}Model")(config)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.mul_(4 if tensor.dim() == 2 else 1)
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_pooling_files(folder, {"pooling_mode_mean_tokens": True}, MODULES)
    return folder


def make_tiny_bert(folder: Path, *, masked: bool = False, width: int = WIDTH) -> Path:
    """Write the folder, in FP32 as most encoders are published; `masked` keeps the head of a masked
    language model, whose tensors have a prefix. Weights are larger than a fresh model's, so that
    sentences differ, and what the MLPs read has an outlier, as MiniLM's."""
    import torch
    from transformers import BertConfig, BertForMaskedLM, BertModel

    torch.manual_seed(0)
    tokenizer = word_pieces(tiny_lines(200))
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        max_position_embeddings=64,
    )
    model = BertForMaskedLM(config) if masked else BertModel(config)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if tensor.dim() == 2:
                tensor.mul_(4)
            elif "LayerNorm.weight" in name:
                tensor.add_(0.3 * torch.randn_like(tensor))
            else:
                tensor.add_(0.1 * torch.randn_like(tensor))
            if name.endswith("attention.output.LayerNorm.weight"):
                tensor[_OUTLIER] = 12
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_pooling_files(folder, {"pooling_mode_mean_tokens": True}, MODULES)
    return folder
