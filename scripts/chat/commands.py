"""The doit commands `chat` and `compare`."""

from typing import Any

from doit.exceptions import InvalidCommand

from scripts.engine.commands.graph_command import option
from scripts.recipe.terminal import RECIPE_OPTION, TerminalCommand, chosen_recipe, refuse_encoder

_MAX_TOKENS = "tokens of an answer at most"


class ChatCommand(TerminalCommand):
    """Talk to an artefact."""

    name = "chat"
    doc_purpose = "talk to one artefact in the terminal"
    doc_usage = "TARGET"
    cmd_options = (
        option("temperature", 0.0, "0 takes the most likely token, more is more varied"),
        option("top_p", 1.0, "with a temperature: choose among the likeliest, of this share"),
        option("seed", 0, "with a temperature: of the random choices"),
        option("max_tokens", 256, _MAX_TOKENS),
        option("system", "", "instructions for the model, before the conversation"),
        RECIPE_OPTION,
    )

    def work(self, options: Any, given: list[str]) -> int:
        """One conversation."""
        from scripts.chat.conversation import converse
        from scripts.chat.speaker import Sampling, Speaker, find_row

        if len(given) != 1:
            raise InvalidCommand("`chat` takes one artefact, such as quantized/model-int8")
        recipe = chosen_recipe(options["recipe"])
        refuse_encoder(recipe, "chat")
        speaker = Speaker(recipe, find_row(recipe, given[0]))
        sampling = Sampling(
            options["temperature"], options["top_p"], options["seed"], options["max_tokens"]
        )
        return converse(speaker, sampling, options["system"])


class CompareCommand(TerminalCommand):
    """All artefacts answer one prompt; of an encoder, they embed some sentences."""

    name = "compare"
    doc_purpose = "see all artefacts answer one prompt, beside FP16"
    doc_usage = '"PROMPT"'
    cmd_options = (
        option("max_tokens", 64, _MAX_TOKENS),
        option("only", "", "artefacts to ask, as model-int8,model.gguf; FP16 is always asked"),
        RECIPE_OPTION,
    )

    def work(self, options: Any, given: list[str]) -> int:
        """One prompt, one answer of each."""
        from scripts.chat.conversation import compare
        from scripts.chat.similarity import compare_similarities
        from scripts.chat.speaker import Sampling, find_row

        recipe = chosen_recipe(options["recipe"])
        if recipe.is_encoder and len(given) < 2:
            raise InvalidCommand(
                "`compare` of an encoder takes two sentences or more, in quotes: the first is "
                "compared with each of the others"
            )
        if not recipe.is_encoder and len(given) != 1:
            raise InvalidCommand('`compare` takes one prompt, in quotes: doit compare "Why?"')
        base, *others = recipe.rows()
        if options["only"]:
            others = [find_row(recipe, name) for name in options["only"].split(",")]
        rows = [base, *(row for row in others if row != base)]
        if recipe.is_encoder:
            return compare_similarities(recipe, rows, given)
        return compare(recipe, rows, given[0], Sampling(max_tokens=options["max_tokens"]))
