"""Which tensors are the language model's, by their names."""

from scripts.tensors.language_model import language_tensors


def test_names_of_tensors() -> None:
    names = ["lm_head.weight", "model.visual.patch.weight", "mtp.fc.weight"]
    names += ["model.language_model.embed_tokens.weight", "model.language_model.norm.weight"]
    assert language_tensors(names) == {
        "lm_head.weight": "lm_head.weight",
        "model.embed_tokens.weight": "model.language_model.embed_tokens.weight",
        "model.norm.weight": "model.language_model.norm.weight",
    }
    older = ["language_model.model.embed_tokens.weight", "language_model.lm_head.weight"]
    assert language_tensors(older) == {
        "model.embed_tokens.weight": older[0],
        "lm_head.weight": older[1],
    }
    assert language_tensors(["model.embed_tokens.weight"]) == {}
