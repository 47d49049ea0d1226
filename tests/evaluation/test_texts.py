"""Which lines and tokens are read: windows, the yardstick and the calibration."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scripts.calibration.tokens import Calibration
from scripts.errors import QuantmakeError
from scripts.evaluation.reference import Reference
from scripts.exec import run_stage
from scripts.texts import bos_of, cut_windows, load_tokenizer, read_lines
from scripts.token_windows import read_kinds, read_windows
from tests.onnx_models import torch_logits


def test_lines_are_those_that_end_with_a_newline(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("a\u2028b\nc\x0cd\ne\n", encoding="utf-8")
    assert read_lines(text, (0, 2)) == ["a\u2028b\n", "c\x0cd\n"]
    assert read_lines(text, (2, 3)) == ["e\n"]


def test_text_with_too_few_lines(tiny_text: Path) -> None:
    wanted = r"tiny.txt has 300 lines, but the recipe asks for lines 250 to 301"
    with pytest.raises(QuantmakeError, match=wanted):
        read_lines(tiny_text, (250, 301))


def test_text_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(QuantmakeError, match=r"x.txt is not UTF-8 text"):
        read_lines(tmp_path / "x.txt", (0, 1))


def test_text_folder_with_two_files(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("x\n")
    with pytest.raises(QuantmakeError, match=r"holds 2 files; a text source is one file"):
        read_lines(tmp_path, (0, 1))


def test_windows_follow_each_other(tiny_base: Path, tiny_text: Path) -> None:
    tokenizer = load_tokenizer(tiny_base)
    text = tiny_text.read_text()
    windows = cut_windows(text, tokenizer, windows=3, context=50, where="the text")
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert windows.ravel().tolist() == ids[:150]


def test_windows_of_a_model_with_bos_start_with_it(tiny_base: Path, tiny_text: Path) -> None:
    class WithBos:
        bos_token_id = 1

        def __init__(self) -> None:
            self._plain = load_tokenizer(tiny_base)

        def __call__(self, text: str, add_special_tokens: bool = True) -> Any:
            ids = self._plain(text, add_special_tokens=False)["input_ids"]
            return {"input_ids": [1, *ids] if add_special_tokens else ids}

    tokenizer = WithBos()
    assert bos_of(tokenizer) == 1
    text = tiny_text.read_text()
    windows = cut_windows(text, tokenizer, windows=2, context=50, where="the text")
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert windows.tolist() == [[1, *ids[1:50]], [1, *ids[51:100]]]


def test_text_that_is_too_short(tiny_base: Path) -> None:
    wanted = r"the text is too short: its lines hold \d+ tokens, but 2 windows of 64 need 128"
    tokenizer = load_tokenizer(tiny_base)
    with pytest.raises(QuantmakeError, match=wanted):
        cut_windows("too short", tokenizer, windows=2, context=64, where="the text")


def test_reference_holds_the_base_in_fp32(tiny_base: Path, tiny_text: Path, tmp_path: Path) -> None:
    stage = Reference(lines=(0, 50), windows=2, context=64, prompts=("the cat",))
    run_stage(stage, {"base": tiny_base, "text": tiny_text}, tmp_path)
    tokens = read_windows(tmp_path)
    logprobs = np.load(tmp_path / "logprobs.npy")
    assert tokens.shape == (2, 64)
    assert logprobs.shape == (2, 31, 512)
    wanted = torch.log_softmax(
        torch.from_numpy(torch_logits(tiny_base, tokens[1].astype(np.int64))), -1
    )
    np.testing.assert_allclose(logprobs[1], wanted[32:63].numpy(), atol=1e-4)


def test_texts_of_other_kinds_follow_the_first(
    tiny_base: Path, tiny_text: Path, tmp_path: Path
) -> None:
    alone = Reference(lines=(0, 50), windows=2, context=64)
    run_stage(alone, {"base": tiny_base, "text": tiny_text}, tmp_path / "alone")
    stage = alone.model_copy(update={"kind": "news", "others": {"code": (100, 150)}})
    inputs = {"base": tiny_base, "text": tiny_text, "text/code": tiny_text}
    run_stage(stage, inputs, tmp_path / "both")
    tokens = read_windows(tmp_path / "both")
    kinds = read_kinds(tmp_path / "both")
    assert [*kinds] == ["news", "code"]
    assert np.array_equal(tokens[kinds["news"]], read_windows(tmp_path / "alone"))
    start = load_tokenizer(tiny_base).decode(tokens[kinds["code"]][0, :20])
    assert tiny_text.read_text().splitlines()[100].startswith(start)
    assert np.load(tmp_path / "both/logprobs.npy").shape == (4, 31, 512)


def test_prompts_take_the_chat_template_and_the_stops_of_the_model(
    tiny_base: Path, tiny_text: Path, tmp_path: Path
) -> None:
    stage = Reference(lines=(0, 50), windows=1, context=64, prompts=("the cat",))
    run_stage(stage, {"base": tiny_base, "text": tiny_text}, tmp_path)
    found = json.loads((tmp_path / "prompts.json").read_text())
    prompt = load_tokenizer(tiny_base).decode(found["prompts"][0]["tokens"])
    assert prompt == "<|im_start|>user\nthe cat<|im_end|>\n<|im_start|>assistant\n"
    assert found["stop"] == [2]


def test_reference_on_a_text_that_is_too_short(
    tiny_base: Path, tiny_text: Path, tmp_path: Path
) -> None:
    stage = Reference(lines=(0, 2), kind="news", windows=20, context=512)
    with pytest.raises(QuantmakeError, match=r"the evaluation's text \(news\) is too short"):
        run_stage(stage, {"base": tiny_base, "text": tiny_text}, tmp_path)


def calibrate(base: Path, text: Path, other: Path, out: Path) -> None:
    stage = Calibration(lines=(100, 300), tokens=1024, context=128, evaluation_lines=(0, 100))
    run_stage(stage, {"base": base, "text": text, "evaluation_text": other}, out)


def test_calibration_takes_its_own_lines(tiny_base: Path, tiny_text: Path, tmp_path: Path) -> None:
    calibrate(tiny_base, tiny_text, tiny_text, tmp_path)
    tokens = read_windows(tmp_path)
    assert tokens.shape == (8, 128)
    start = load_tokenizer(tiny_base).decode(tokens[0, :20])
    assert tiny_text.read_text().splitlines()[100].startswith(start)


def test_calibration_and_evaluation_that_share_a_line(
    tiny_base: Path, tiny_text: Path, tmp_path: Path
) -> None:
    """Two files: the recipe alone can't tell."""
    other = tmp_path / "other.txt"
    lines = tiny_text.read_text().splitlines(keepends=True)
    shutil.copy(tiny_text, other)
    other.write_text("".join([*lines[:99], lines[107], *lines[100:]]))
    (tmp_path / "out").mkdir()
    wanted = (
        r"1 lines of tiny.txt are in the calibration and in the evaluation \(lines 107, counted"
    )
    with pytest.raises(QuantmakeError, match=wanted):
        calibrate(tiny_base, tiny_text, other, tmp_path / "out")


def test_texts_of_other_kinds_are_kept_apart_from_the_calibration_too(
    tiny_base: Path, tiny_text: Path, tmp_path: Path
) -> None:
    stage = Calibration(
        lines=(100, 300),
        tokens=1024,
        context=128,
        evaluation_lines=(0, 50),
        other_lines={"code": (50, 101)},
    )
    inputs = {"base": tiny_base, "text": tiny_text, "evaluation_text": tiny_text}
    with pytest.raises(QuantmakeError, match=r"1 lines of tiny\.txt are in the calibration"):
        run_stage(stage, {**inputs, "evaluation_text/code": tiny_text}, tmp_path)


def test_kinds_alternate_in_the_calibration(
    tiny_base: Path, tiny_text: Path, tmp_path: Path
) -> None:
    stage = Calibration(
        lines=(100, 200),
        tokens=4 * 128,
        context=128,
        others={"code": ((200, 300), 2 * 128 + 5)},
        evaluation_lines=(0, 100),
    )
    inputs = {"base": tiny_base, "text": tiny_text, "evaluation_text": tiny_text}
    run_stage(stage, {**inputs, "text/code": tiny_text}, tmp_path / "both")
    tokenizer = load_tokenizer(tiny_base)
    starts = [tokenizer.decode(one[:20]) for one in read_windows(tmp_path / "both")]
    lines = tiny_text.read_text().splitlines()
    assert len(starts) == 6
    assert lines[100].startswith(starts[0])
    assert lines[200].startswith(starts[1])

    def other(lines: tuple[int, int]) -> None:
        changed = stage.model_copy(update={"others": {"code": (lines, 256)}})
        run_stage(changed, {**inputs, "text/code": tiny_text}, tmp_path / "other")

    with pytest.raises(QuantmakeError, match=r"the calibration's text/code is too short"):
        other((200, 201))
    with pytest.raises(QuantmakeError, match=r"lines 90, 91, .* must not be measured on"):
        other((90, 300))
