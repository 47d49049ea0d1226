"""How similar the artefacts of an encoder find some sentences, beside FP16."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from scripts.backends.encoder import load_encoder
from scripts.base.encoder_config import read_pooling
from scripts.errors import QuantmakeError
from scripts.recipe.recipe import Recipe, Row
from scripts.sentences import tokenised
from scripts.workers import available_cores

_NAME = "sentence"


def compare_similarities(recipe: Recipe, rows: Sequence[Row], texts: Sequence[str]) -> int:
    """Print the cosine of the first text with each of the others, by each row, the FP16 base first;
    1 where one could not embed. Raises QuantmakeError where the base is not built."""
    base = recipe.node("base")
    if not base.exists():
        raise QuantmakeError(f"{base} is not built yet; run `doit {recipe.task('base')}` first")
    sentences = tokenised({_NAME: list(texts)}, base, read_pooling(base).longest).all
    console = Console(highlight=False, markup=False)
    console.print(f"How similar is “{texts[0]}” to")
    for number, text in enumerate(texts[1:], 1):
        console.print(f"  {number}: “{text}”")
    table = Table("", *(str(number) for number in range(1, len(texts))), box=box.SIMPLE_HEAD)
    failed = False
    for row in rows:
        try:
            if not row.path.exists():
                raise QuantmakeError(f"not built yet; run `doit {row.path}`")
            encoder = load_encoder(row.backend, row.path, threads=available_cores())
            embeddings = encoder.embed(sentences)
        except QuantmakeError as error:
            failed = True
            table.add_row(row.name, str(error))
            continue
        table.add_row(row.name, *(f"{value:.4f}" for value in embeddings[1:] @ embeddings[0]))
    console.print(table)
    return int(failed)
