"""The errors that people read: one paragraph each, with the exit code they end in."""

IN_NO_KEY = "errors are for people; a stage that raises one makes nothing"


class QuantmakeError(Exception):
    """Something the reader can mend. The text says what was found, where, and what to do."""

    exit_code = 1


class RecipeError(QuantmakeError):
    """The recipe or the command line is wrong."""

    exit_code = 2


class MachineError(QuantmakeError):
    """The machine lacks something: a tool, a package, disk space, the network."""

    exit_code = 3
