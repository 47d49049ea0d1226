"""`doit pin` writes the digests that recipes lack, where they belong, and nothing else."""

from pathlib import Path

import pytest

from scripts.recipe.load import load_recipe
from scripts.recipe.pin import PinCommand, pin
from scripts.sources.digest import sha256_of_file
from tests.checkout import ROOT, digest_of_folder

RECIPE = """\
# mine
model:
  source: path:{model}   # a folder
calibration:
  text: path:{text}
  lines: [0, 20]
  tokens: 512
  others:
    notes:
      tokens: 512
      text: path:{other}
      lines: [0, 10]
evaluation:
  text: path:{text}
  lines: [20, 40]
artifacts:
  model-int8: {{format: onnx, bits: 8, method: rtn}}
"""


@pytest.fixture
def recipe(tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe whose sources are there, and none of them pinned."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.txt", "b.txt"):
        Path(name).write_text(f"a line of {name}\n" * 50)
    path = Path("recipes/mine.yaml")
    path.parent.mkdir()
    path.write_text(RECIPE.format(model=tiny_base, text="a.txt", other="b.txt"))
    return path


def run(*given: str) -> int:
    """`doit pin` with these recipes."""
    return PinCommand().execute({}, list(given))


def test_every_source_gets_its_digest(
    recipe: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("mine") == 0
    header = load_recipe(recipe, is_default=True).header
    texts = {path: sha256_of_file(Path(path)) for path in ("a.txt", "b.txt")}
    assert header.model.sha256 == digest_of_folder(tiny_base)
    assert header.calibration.sha256 == header.evaluation.sha256 == texts["a.txt"]
    assert header.calibration.others["notes"].sha256 == texts["b.txt"]
    said = capsys.readouterr().out
    assert f"calibration.others.notes.text (path:b.txt) has sha256: {texts['b.txt']}" in said
    written = recipe.read_text()
    assert "# a folder\n  sha256: " in written
    assert written.count("\n") == RECIPE.count("\n") + 4
    assert run() == 0
    assert "every source is pinned" in capsys.readouterr().out
    assert recipe.read_text() == written


def test_what_is_on_one_line_is_added_by_hand(recipe: Path) -> None:
    flow = "    notes: {tokens: 512, text: path:b.txt, lines: [0, 10]}\n"
    head, _, rest = recipe.read_text().partition("    notes:\n")
    recipe.write_text(head + flow + rest[rest.index("evaluation:") :])
    digest = sha256_of_file(Path("b.txt"))
    assert pin(recipe) == [
        f"{recipe}: add this to calibration.others.notes by hand, which is on one line:\n"
        f"  sha256: {digest}"
    ]
    assert flow in recipe.read_text()


def test_value_on_several_lines_is_left_as_it_is(recipe: Path) -> None:
    recipe.write_text(recipe.read_text().replace("text: path:b.txt", "text:\n        path:b.txt"))
    (said,) = pin(recipe)
    assert "add this to calibration.others.notes by hand" in said
    assert "text:\n        path:b.txt\n" in recipe.read_text()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("path:b.txt", "path:c.txt"), "path:c.txt: there is no such file or folder"),
        (("lines: [0, 20]", "lines: 20"), "recipes/mine.yaml has 1 mistake"),
        (("path:b.txt", "nowhere:b.txt"), "nowhere"),
    ],
)
def test_mistakes(
    recipe: Path, change: tuple[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe.write_text(recipe.read_text().replace(*change))
    assert run("mine") != 0
    assert said in capsys.readouterr().err


def test_unknown_recipe_is_named(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("nine") == 2
    assert "there is no recipe 'nine'; did you mean 'mine'?" in capsys.readouterr().err


def test_doit_and_the_error_know_the_command(recipe: Path) -> None:
    from scripts.errors import RecipeError

    assert 'pin = "scripts.recipe.pin:PinCommand"' in (ROOT / "pyproject.toml").read_text()
    with pytest.raises(RecipeError, match=r"calibration.sha256: is missing.*`doit pin mine`"):
        load_recipe(recipe, is_default=True)
