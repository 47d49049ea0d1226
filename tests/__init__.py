"""The tests compute as stages do: the variables that fix it are read when libraries are loaded."""

import os

from scripts.environment import arithmetic

os.environ.update(arithmetic())
