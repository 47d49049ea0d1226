"""The project's files are UTF-8, whatever the locale of the shell says."""

import locale
import os
import sys

IN_NO_KEY = "processes of stages are in UTF-8 by their environment"


def begin_anew_in_utf8() -> None:
    """Replace this process by one in Python's UTF-8 mode (PEP 540), where the locale has another
    encoding; the terminal keeps that, with `?` for what it lacks. Python can't change it later."""
    encoding = locale.getpreferredencoding(False).lower().replace("-", "")
    if encoding == "utf8" or os.environ.get("PYTHONUTF8") == "1":
        return  # the second, where `-X utf8=0` on the command line overrules it
    terminal = f"{sys.stdout.encoding}:replace"
    environment = {**os.environ, "PYTHONUTF8": "1", "PYTHONIOENCODING": terminal}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
