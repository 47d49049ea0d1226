"""How it was measured, in sentences: the model, the yardstick, the machine."""

from scripts.report import prose
from scripts.report.facts import Facts, public
from scripts.report.lineup import Lineup, code


def model_sentences(facts: Facts, lineup: Lineup) -> str:
    """Which model, of what size, and what was done to it before anything else."""
    sentence = (
        f"The model is {code(facts.source_name)}, {lineup.base.size.parameters:,} parameters."
    )
    if facts.off_grid is None:
        return sentence
    return f"{sentence} {prose.off_grid_sentence(facts.off_grid)}"


def quality_sentences(facts: Facts, lineup: Lineup) -> str:
    """On what text quality was measured, and by which definitions."""
    return (
        f"{_yardstick(facts)} Every row read the same token ids; "
        f"{lineup.base.quality.tokens_scored:,} predictions were scored, those in the second half "
        "of each window, where the model has seen enough to predict from. Definitions are those of "
        "llama.cpp's `llama-perplexity --kl-divergence`: KLD is KL(FP16 ‖ row), from FP32 "
        "log-probabilities. The error of “× FP16” is that of paired differences, so it is smaller "
        "than those of the two perplexities. The base's weights are FP16; they are computed with "
        "in FP32."
    ).strip()


def timing_sentences(lineup: Lineup) -> str:
    """On what machine the timings were taken, and how."""
    base, machine = lineup.base, lineup.base.machine
    most = max(row.speed.decode_tokens for row in lineup.rows)
    fewer = any(row.speed.decode_tokens < most for row in lineup.rows)
    packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    return (
        f"Timings were taken on {machine.cpu} ({', '.join(machine.features)}), {machine.cores} "
        f"cores, {base.speed.threads} threads, in a process of its own for each row; {packages}. "
        "The rows took turns in every round, so that a busy moment slows all of them. "
        f"Prefill is {base.speed.prefill_tokens} tokens at once, decode "
        f"{most} tokens one by one{' (fewer for the slow ones)' if fewer else ''}; the figures "
        "are medians after a warm-up, with least, greatest and number of repeats below. Timings "
        "belong to this machine and change from run to run; all other figures come out the same "
        "again."
    )


def _yardstick(facts: Facts) -> str:
    yardstick = facts.yardstick
    if yardstick is None:
        return ""
    first, end = yardstick.lines
    return (
        f"The text is {code(public(yardstick.text))}, lines {first + 1:,} to {end:,}, cut into "
        f"{yardstick.windows} windows of {yardstick.context} tokens."
    )
