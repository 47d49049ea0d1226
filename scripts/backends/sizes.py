"""What people read and type of a size that an artefact is asked to keep to."""

from scripts.errors import RecipeError

IN_NO_KEY = "it words what is not made"


def least_error(asker: str, kinds: str, least: int, asked: int) -> RecipeError:
    """The error where a file in the smallest `kinds`, `least` bytes, is larger than what is asked;
    `asker` is the option that asks."""
    return RecipeError(
        f"{asker}: the smallest {kinds} make a file of {least:,} bytes ({megabytes(least)}), and "
        f"{asked:,} ({megabytes(asked)}) are asked for. {advice(least)}"
    )


def advice(enough: int) -> str:
    """A number to type: rounded up to a tenth of a megabyte."""
    step = 10**5 if enough > 10**6 else 10**3
    rounded = -(-enough // step) * step
    return f"Write `max_bytes: {rounded}` ({megabytes(rounded)}) or more."


def megabytes(size: int) -> str:
    """Such as `91.7 MB`."""
    return f"{size / 1e6:.1f} MB" if size >= 10**5 else f"{size / 1e3:.1f} kB"
