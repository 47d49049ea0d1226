"""The JSON schema of recipes, for editors: `python -m scripts.recipe.schema` writes it."""

import ast
import inspect
import json
from functools import reduce
from itertools import pairwise
from operator import or_
from pathlib import Path
from textwrap import dedent
from typing import Any

from pydantic import BaseModel, Field, create_model
from pydantic.json_schema import GenerateJsonSchema

from scripts.backends.format import all_formats
from scripts.recipe.model import Header

PATH = Path("recipes/recipe.schema.json")


def _texts_of(record: type[BaseModel]) -> dict[str, str]:
    """The text below each field of `record` in its source, on one line."""
    texts: dict[str, str] = {}
    for base in reversed(record.__mro__):
        if not issubclass(base, BaseModel) or base.__module__.startswith("pydantic"):
            continue
        try:
            body = ast.parse(dedent(inspect.getsource(base))).body[0]
        except OSError:  # made by create_model
            continue
        assert isinstance(body, ast.ClassDef)
        for pair in pairwise(body.body):
            match pair:
                case ast.AnnAssign(target=field), ast.Expr(value=ast.Constant(value=str(text))):
                    texts[ast.unparse(field)] = " ".join(text.split())
    return texts


class Described(GenerateJsonSchema):
    """With the text below a field as its description: it is in no action key."""

    def model_schema(self, schema: Any) -> dict[str, Any]:
        """As pydantic makes it, with the descriptions that it lacks."""
        made = super().model_schema(schema)
        for name, text in _texts_of(schema["cls"]).items():
            made["properties"][name].setdefault("description", text)
        return made


def schema_text() -> str:
    """The schema, derived from the records and the table of formats."""
    formats = reduce(or_, [*all_formats(), *all_formats("encoder")])
    recipe = create_model(
        "Recipe",
        __base__=Header,
        artifacts=(
            dict[str, formats],  # type: ignore[valid-type]
            Field(description="what to build, by path below quantized/", min_length=1),
        ),
    )
    schema = recipe.model_json_schema(schema_generator=Described)
    schema["title"] = "quantmake recipe"
    return json.dumps(schema, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    PATH.write_text(schema_text())
