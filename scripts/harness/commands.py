"""The doit command `lm-eval`."""

from typing import Any

from doit.exceptions import InvalidCommand

from scripts.engine.commands.graph_command import option
from scripts.errors import MachineError
from scripts.recipe.terminal import RECIPE_OPTION, TerminalCommand, chosen_recipe, refuse_encoder


class HarnessCommand(TerminalCommand):
    """Run tasks of lm-evaluation-harness."""

    name = "lm-eval"
    doc_purpose = "run tasks of lm-evaluation-harness on artefacts, beside FP16 (extra: lm-eval)"
    doc_usage = "TARGET… --tasks NAME,NAME"
    cmd_options = (
        option("tasks", "", "the harness's own tasks, or yours of --include"),
        option("include", "", "a folder with the YAML files of your own tasks"),
        option("fewshot", -1, "examples before each question; -1 is what the task says"),
        option("limit", 0, "questions of each task at most; 0 is all"),
        RECIPE_OPTION,
    )

    def work(self, options: Any, given: list[str]) -> int:
        """FP16, then each artefact, in one table."""
        if not given or not options["tasks"]:
            raise InvalidCommand(
                "`lm-eval` takes artefacts and tasks: doit lm-eval quantized/model-int8 "
                "--tasks arc_easy,hellaswag"
            )
        recipe = chosen_recipe(options["recipe"])
        refuse_encoder(recipe, "lm-eval")
        try:
            from scripts.harness.harness import Asked, run
        except ImportError as error:
            raise MachineError(
                f"lm-evaluation-harness can't be imported ({error}); install it with "
                "python3.11 -m scripts.setup --extra lm-eval"
            ) from None
        from scripts.chat.speaker import find_row

        base, *_ = recipe.rows()
        others = [find_row(recipe, name) for name in given]
        asked = Asked(
            tasks=tuple(filter(None, options["tasks"].split(","))),
            include=options["include"],
            fewshot=None if options["fewshot"] < 0 else options["fewshot"],
            limit=options["limit"] or None,
        )
        return run(recipe, [base, *(row for row in others if row != base)], asked)
