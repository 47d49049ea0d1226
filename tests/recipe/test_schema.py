"""The schema beside the recipes is the one that the records give."""

from scripts.recipe.schema import PATH, schema_text


def test_schema_beside_the_recipes_is_current() -> None:
    assert PATH.read_text() == schema_text(), "run: python -m scripts.recipe.schema"
