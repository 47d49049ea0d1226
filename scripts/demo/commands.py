"""The doit command `demo`."""

from typing import Any

from doit.exceptions import InvalidCommand

from scripts.engine.commands.graph_command import option
from scripts.engine.run.children import Interrupted, handle_signals
from scripts.recipe.terminal import RECIPE_OPTION, TerminalCommand, chosen_recipe, refuse_encoder


class DemoCommand(TerminalCommand):
    """Chat with an artefact in the browser."""

    name = "demo"
    doc_purpose = "chat with an artefact in the browser, by a page that is served on this machine"
    doc_usage = "TARGET"
    cmd_options = (option("port", 0, "of the page's address; 0 takes a free one"), RECIPE_OPTION)

    def work(self, options: Any, given: list[str]) -> int:
        """Serve the page until Ctrl-C."""
        from scripts.chat.speaker import find_row
        from scripts.demo.server import Server
        from scripts.demo.site import site_of

        if len(given) != 1:
            raise InvalidCommand("`demo` takes one artefact, such as quantized/model-int8")
        recipe = chosen_recipe(options["recipe"])
        refuse_encoder(recipe, "demo")
        row = find_row(recipe, given[0])
        handle_signals()
        try:
            with Server(site_of(recipe, row), options["port"]) as server:
                print(f"{row.name} answers at {server.address}; Ctrl-C ends it.", flush=True)
                server.serve_forever()
        except Interrupted as interrupted:
            return 128 + interrupted.number
        return 0
