"""What commands for the terminal have in common: their options, their recipe, their errors."""

import sys
from typing import Any

from doit.cmd_base import Command
from doit.cmdparse import CmdParseError
from doit.exceptions import InvalidCommand

from scripts.engine.commands.graph_command import option, options_first
from scripts.errors import QuantmakeError, RecipeError
from scripts.recipe.load import load_all
from scripts.recipe.problems import listed, nearest
from scripts.recipe.recipe import Recipe

RECIPE_OPTION = option("recipe", "", "the recipe's name, if it is not the default one")


def chosen_recipe(name: str) -> Recipe:
    """The default recipe, or the one of that name; raises RecipeError where there is none."""
    recipes = {recipe.name: recipe for recipe in load_all()}
    if name and name not in recipes:
        near = nearest(name, recipes)
        raise RecipeError(f"there is no recipe {name!r}{near}; there are {listed(recipes)}")
    return recipes[name] if name else next(iter(recipes.values()))


def refuse_encoder(recipe: Recipe, command: str) -> None:
    """Raises RecipeError where the recipe's model writes no text."""
    if recipe.is_encoder:
        raise RecipeError(
            f"`doit {command}` needs a model that writes text; {recipe.title} ({recipe.path}) is "
            "an encoder, which turns sentences into embeddings. See how similar its artefacts find "
            f'sentences with `doit compare --recipe {recipe.name} "ONE" "ANOTHER"`'
        )


class TerminalCommand(Command):  # type: ignore[misc]
    """A command whose mistakes are one line on standard error."""

    doc_description = None

    def parse_execute(self, in_args: list[str]) -> int:
        """Options may stand before or after what they are about."""
        try:
            result: int = super().parse_execute(options_first(self, in_args))
        except CmdParseError as error:
            sys.stderr.write(f"error: {error}\n")
            return RecipeError.exit_code
        return result

    def execute(self, opt_values: Any, pos_args: list[str]) -> int:
        """Answer with the exit code."""
        try:
            return self.work(opt_values, pos_args)
        except (QuantmakeError, InvalidCommand) as error:
            sys.stderr.write(f"error: {error}\n")
            return getattr(error, "exit_code", RecipeError.exit_code)

    def work(self, options: Any, given: list[str]) -> int:
        """What the command does."""
        raise NotImplementedError
