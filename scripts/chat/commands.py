"""The doit commands `chat` and `compare`."""

import sys
from typing import Any

from doit.cmd_base import Command
from doit.exceptions import InvalidCommand

from scripts.errors import QuantmakeError, RecipeError
from scripts.recipe.load import load_all
from scripts.recipe.problems import listed, nearest
from scripts.recipe.recipe import Recipe


def _option(name: str, default: Any, text: str) -> dict[str, Any]:
    return {
        "name": name,
        "long": name.replace("_", "-"),
        "type": type(default),
        "default": default,
        "help": text,
    }


_MOST = "tokens of an answer at most"
_RECIPE = _option("recipe", "", "the recipe's name, if it is not the default one")


def chosen_recipe(name: str) -> Recipe:
    """The default recipe, or the one of that name; raises RecipeError where there is none."""
    recipes = {recipe.name: recipe for recipe in load_all()}
    if name and name not in recipes:
        near = nearest(name, recipes)
        raise RecipeError(f"there is no recipe {name!r}{near}; there are {listed(recipes)}")
    return recipes[name] if name else next(iter(recipes.values()))


def options_first(arguments: list[str]) -> list[str]:
    """The arguments with options, which all take a value, before the others: doit's parser
    takes whatever follows the first other argument for one of those."""
    options, others = [], []
    rest = iter(arguments)
    for argument in rest:
        if not argument.startswith("--"):
            others.append(argument)
            continue
        options.append(argument)
        if "=" not in argument:
            options += [value for value in [next(rest, None)] if value is not None]
    return [*options, *others]


class _TerminalCommand(Command):  # type: ignore[misc]
    """A command whose mistakes are one line on standard error."""

    doc_description = None

    def parse_execute(self, in_args: list[str]) -> int:
        """Options may stand before or after what they are about."""
        result: int = super().parse_execute(options_first(in_args))
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


class ChatCommand(_TerminalCommand):
    """Talk to an artefact."""

    name = "chat"
    doc_purpose = "talk to one artefact in the terminal"
    doc_usage = "TARGET"
    cmd_options = (
        _option("temperature", 0.0, "0 takes the most likely token, more is more varied"),
        _option("top_p", 1.0, "with a temperature: choose among the likeliest, of this share"),
        _option("seed", 0, "with a temperature: of the random choices"),
        _option("max_tokens", 256, _MOST),
        _option("system", "", "instructions for the model, before the conversation"),
        _RECIPE,
    )

    def work(self, options: Any, given: list[str]) -> int:
        """One conversation."""
        from scripts.chat.answer import Sampling
        from scripts.chat.conversation import converse
        from scripts.chat.speaker import Speaker, find_row

        if len(given) != 1:
            raise InvalidCommand("`chat` takes one artefact, such as quantized/model-int8")
        recipe = chosen_recipe(options["recipe"])
        speaker = Speaker(recipe, find_row(recipe, given[0]))
        sampling = Sampling(
            options["temperature"], options["top_p"], options["seed"], options["max_tokens"]
        )
        return converse(speaker, sampling, options["system"])


class CompareCommand(_TerminalCommand):
    """All artefacts answer one prompt."""

    name = "compare"
    doc_purpose = "see all artefacts answer one prompt, beside FP16"
    doc_usage = '"PROMPT"'
    cmd_options = (
        _option("max_tokens", 64, _MOST),
        _option("only", "", "artefacts to ask, as model-int8,model.gguf; FP16 is always asked"),
        _RECIPE,
    )

    def work(self, options: Any, given: list[str]) -> int:
        """One prompt, one answer of each."""
        from scripts.chat.answer import Sampling
        from scripts.chat.comparison import compare
        from scripts.chat.speaker import find_row

        if len(given) != 1:
            raise InvalidCommand('`compare` takes one prompt, in quotes: doit compare "Why?"')
        recipe = chosen_recipe(options["recipe"])
        base, *others = recipe.rows()
        if options["only"]:
            others = [find_row(recipe, name) for name in options["only"].split(",")]
        rows = [base, *(row for row in others if row != base)]
        return compare(recipe, rows, given[0], Sampling(most=options["max_tokens"]))
