"""The JSON schema of recipes, for editors: `python -m scripts.recipe.schema` writes it."""

import json
from functools import reduce
from operator import or_
from pathlib import Path

from pydantic import Field, create_model

from scripts.backends.format import all_formats
from scripts.recipe.model import Header

PATH = Path("recipes/recipe.schema.json")


def schema_text() -> str:
    """The schema, derived from the records and the table of formats."""
    formats = reduce(or_, all_formats())
    recipe = create_model(
        "Recipe",
        __base__=Header,
        artifacts=(
            dict[str, formats],  # type: ignore[valid-type]
            Field(description="what to build, by path below quantized/", min_length=1),
        ),
    )
    schema = recipe.model_json_schema()
    schema["title"] = "quantmake recipe"
    return json.dumps(schema, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    PATH.write_text(schema_text())
