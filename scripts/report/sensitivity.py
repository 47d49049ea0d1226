"""Which layers suffer most from rounding: a sentence and a chart."""

from typing import Any

from matplotlib.figure import Figure

from scripts.evaluation.sensitivity import EMBEDDING, LayerError, Sensitivity
from scripts.report.charts import ACCENT, GREY, INK, LINE, Look, figure_of
from scripts.report.lineup import Lineup
from scripts.report.numbers import divergence
from scripts.report.parts import Drawing, Paragraph, Section
from scripts.report.samples import escaped

TITLE = "How far the predictions move when one layer alone has 4 bits"
_NAMED = 3


def sensitivity(lineup: Lineup) -> list[Section]:
    """No section where it was not measured; where it can't be, why."""
    measured = lineup.sensitivity
    if measured is None:
        return []
    parts: tuple[Paragraph | Drawing, ...]
    if measured.layers:
        sentence = _sentence(measured)
        parts = (Paragraph(sentence), Drawing("sensitivity", TITLE, sentence))
    else:
        parts = (Paragraph(escaped(f"This could not be measured: {measured.reason}")),)
    return [Section("Which layers are sensitive", parts, "Sensitive layers")]


def _sentence(measured: Sensitivity) -> str:
    """What the chart shows, and the layers that matter most."""
    shown = {one.name: divergence(one.kld.value) for one in measured.layers}
    layers = [one for one in measured.layers if one.name != EMBEDDING]
    worst = sorted(layers, key=lambda one: -one.kld.value)[:_NAMED]
    named = ", ".join(f"{one.name} ({shown[one.name]})" for one in worst)
    end = f" For the {EMBEDDING} it is {shown[EMBEDDING]}." if EMBEDDING in shown else ""
    return (
        f"Each bar stands for one layer of the model, rounded to {measured.bits} bits in blocks of "
        f"{measured.block_size} while all the others stay as they are, and shows how far the "
        f"predictions then move: the mean KL divergence, over {measured.tokens_scored:,} "
        f"predictions on the calibration's text. The most sensitive are {named}: they gain most "
        f"from more bits or from a calibrated method.{end}"
    )


def sensitivities(lineup: Lineup, look: Look) -> Figure:
    """A bar for each layer in order, with the standard error; the embedding and head apart."""
    assert lineup.sensitivity is not None
    layers = lineup.sensitivity.layers
    count = len(layers)
    figure = figure_of(look, 3.4 if not look.narrow else 0.17 * count + 1.2)
    axes: Any = figure.add_subplot()
    values = [one.kld.value for one in layers]
    errors = [one.kld.se for one in layers]
    colours = [GREY if one.name == EMBEDDING else ACCENT for one in layers]
    # The embedding stands a little apart from the layers.
    places = [place + (0.6 if one.name == EMBEDDING else 0) for place, one in enumerate(layers)]
    error_style = {"ecolor": INK, "elinewidth": 0.9, "capsize": 1.5}
    ticks = [_tick(one, place) for place, one in enumerate(layers)]
    if look.narrow:
        axes.barh(places, values, 0.72, color=colours, xerr=errors, error_kw=error_style)
        axes.set_yticks(places, ticks, fontsize=8)
        axes.invert_yaxis()
        axes.set_xlabel("mean KL divergence, nats")
    else:
        axes.bar(places, values, 0.72, color=colours, yerr=errors, error_kw=error_style)
        axes.set_xticks(places, ticks)
        axes.set_xlabel("layer")
        axes.set_ylabel("mean KL divergence, nats")
    axes.grid(axis="x" if look.narrow else "y", color=LINE, linewidth=0.8)
    axes.tick_params(axis="y" if look.narrow else "x", length=0)
    if look.titles:
        axes.set_title(TITLE)
    return figure


def _tick(layer: LayerError, place: int) -> str:
    """A number for every fifth layer; the embedding by its name."""
    if layer.name == EMBEDDING:
        return "embedding\nand head"
    return str(place) if place % 5 == 0 else ""
