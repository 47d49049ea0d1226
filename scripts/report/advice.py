"""Which artefact to take for what, and what to be wary of, from the numbers alone."""

from collections.abc import Callable, Iterator, Sequence

from scripts.backends.face import face_of, faces
from scripts.evaluation.result import Evaluation
from scripts.report.lineup import (
    Lineup,
    answering,
    by_size,
    code,
    distance,
    listed,
    megabytes,
    reading,
)
from scripts.report.measures import MEASURES, SPEED_MARGIN
from scripts.report.numbers import percent, ratio
from scripts.report.parts import Advice, Badge, Pick, Recommendation, Table
from scripts.report.verdicts import is_clearly_closer, is_usable, rank, verdict
from scripts.report.yardsticks import yardstick_of


def _distance(row: Evaluation) -> str:
    return f"{_far_off(row)} ({verdict(row)})"


def _far_off(row: Evaluation) -> str:
    """The distance with its name."""
    yardstick = yardstick_of(row)
    return f"{yardstick.name} {yardstick.show(distance(row))}"


def _size(row: Evaluation) -> str:
    return f"{megabytes(row):,.0f} MB"


def _best_verdict(rows: Sequence[Evaluation]) -> list[Evaluation]:
    best = min(map(rank, rows))
    return [row for row in rows if rank(row) == best]


def headline(lineup: Lineup) -> Pick:
    """The one to take by default: of the best verdict there is, the one that answers fastest."""
    best = _best_verdict(lineup.offered)
    chosen = _quickest(best, answering)
    share = chosen.size.bytes / lineup.base.size.bytes
    own = lineup.yardstick
    reason = (
        f"Its verdict is “{verdict(chosen)}”: it {own.verb} {own.closeness(chosen)}. It takes "
        f"{percent(share, 0)} of FP16's size and "
        f"{own.writes.format(f'{answering(chosen):,.0f}')}"
    )
    others = [row.artifact for row in best if row is not chosen]
    if others:
        reason += f". Of the same verdict, but no faster: {listed(others)}"
    purpose = "If you want just one" if is_usable(chosen) else "None is near FP16; the nearest"
    return Pick(purpose, chosen.artifact, f"{reason}.")


def picks(lineup: Lineup) -> list[Pick]:
    """One pick per purpose: the closest, the smallest usable, the fastest."""
    return [
        _closest(lineup),
        _smallest("Smallest that stays usable", lineup),
        _fastest(lineup.yardstick.purposes[0], answering, lineup),
        _fastest(lineup.yardstick.purposes[1], reading, lineup),
    ]


def _closest(lineup: Lineup) -> Pick:
    first = min(lineup.offered, key=distance)
    level = [row for row in lineup.offered if not is_clearly_closer(first, row)]
    best = min(level, key=by_size)
    reason = f"{_distance(best)}; {lineup.yardstick.closeness(best)}; {_size(best)}"
    others = [row.artifact for row in level if row is not best]
    if others:
        reason += f"; {listed(others)} can't be told from it by this measurement, but is no smaller"
    return Pick("Closest to FP16", best.artifact, reason)


def _none_usable(purpose: str, lineup: Lineup) -> Pick:
    own = lineup.yardstick
    side = "below" if own.column == "KLD" else "above"
    limit = f"{own.name} {side} {own.limits(own.usable)}"
    return Pick(purpose, None, f"no artefact is near enough to FP16 ({limit})")


def _smallest(purpose: str, lineup: Lineup) -> Pick:
    usable = [row for row in lineup.offered if is_usable(row)]
    if not usable:
        return _none_usable(purpose, lineup)
    best = min(usable, key=by_size)
    share = best.size.bytes / lineup.base.size.bytes
    reason = f"{_size(best)}, {percent(share, 0)} of FP16; {_distance(best)}"
    smaller = [row for row in lineup.offered if row.size.bytes < best.size.bytes]
    if smaller:
        words = " or ".join(dict.fromkeys(verdict(row) for row in smaller))
        reason += f"; whatever is smaller is {words}"
    return Pick(purpose, best.artifact, reason)


def _quickest(rows: Sequence[Evaluation], speed: Callable[[Evaluation], float]) -> Evaluation:
    """The fastest; where speeds are too near to call, the closest to the base of those."""
    top = max(map(speed, rows))
    level = [row for row in rows if speed(row) >= (1 - SPEED_MARGIN) * top]
    return min(level, key=distance)


def _fastest(purpose: str, speed: Callable[[Evaluation], float], lineup: Lineup) -> Pick:
    usable = [row for row in lineup.offered if is_usable(row)]
    if not usable:
        return _none_usable(purpose, lineup)
    best = _quickest(usable, speed)
    floats = dict.fromkeys([lineup.base.artifact, lineup.float_model(best).artifact])
    times = [
        f"{ratio(speed(best) / speed(one))} {one.label}"
        for one in lineup.baselines
        if one.artifact in floats and one.is_timed
    ]
    reason = ", ".join(
        filter(None, (f"{speed(best):,.0f} {lineup.yardstick.unit}", " and ".join(times)))
    )
    reason += f"; {_distance(best)}"
    timed = [one for one in lineup.baselines if one.is_timed]
    quickest_float = max(timed, key=speed, default=best)
    if quickest_float is not best and speed(best) <= speed(quickest_float):
        reason += f"; {quickest_float.label} itself is as fast, so take it for its size only"
    return Pick(purpose, best.artifact, reason)


def by_runtime(lineup: Lineup) -> list[Pick]:
    """For each runtime that has artefacts: its best verdict, and the smallest of those."""
    picks = []
    for backend, face in faces().items():
        own = [row for row in lineup.offered if row.backend == backend]
        if own:
            best = min(_best_verdict(own), key=by_size)
            reason = (
                f"{_distance(best)}, {_size(best)}, {answering(best):,.0f} {lineup.yardstick.unit}"
            )
            if not is_usable(best):
                reason = f"the nearest of its kind, but prefer another runtime if you can: {reason}"
            picks.append(Pick(face.title, best.artifact, reason))
    return picks


def runtime_table(lineup: Lineup) -> Table:
    """What to take where the runtime is given."""
    rows = tuple((one.purpose, one.bold, one.reason) for one in by_runtime(lineup))
    header = ("you deploy with", "take", "because")
    return Table("What to take where the runtime is given", header, rows)


def advice(lineup: Lineup) -> Advice:
    """The one to take by default; then the smallest, the fastest, the closest."""
    first = headline(lineup)
    closest, smallest, answers, reading = picks(lineup)
    cards = {
        smallest.purpose: [smallest],
        "Fastest": [answers, reading],
        closest.purpose: [closest],
    }
    return Advice(
        Recommendation(_badge(lineup, first.name), (first,)),
        tuple((title, tuple(_recommendations(lineup, own))) for title, own in cards.items()),
    )


def _recommendations(lineup: Lineup, chosen: Sequence[Pick]) -> Iterator[Recommendation]:
    """Picks of the same artefact share its name and figures."""
    for name in dict.fromkeys(pick.name for pick in chosen):
        same = tuple(pick for pick in chosen if pick.name == name)
        yield Recommendation(_badge(lineup, name), same)


def _badge(lineup: Lineup, name: str | None) -> Badge | None:
    """The figures of an artefact; None for a pick that has none."""
    row = next((one for one in lineup.artifacts if one.artifact == name), None)
    if row is None:
        return None
    measures = [MEASURES[key] for key in lineup.yardstick.on_cards]
    figures = [(one.name, one.amount(one.value(row, lineup))) for one in measures]
    runtime = ("runs with", face_of(row.backend).title)
    return Badge(row.artifact, verdict(row), rank(row), (*figures, runtime))


def warnings(lineup: Lineup) -> list[str]:
    """A sentence for each artefact that is broken or poor, slow, or beaten by another."""
    rows = lineup.artifacts
    slow = [row for row in rows if answering(row) < answering(lineup.base)]
    pairs = [(row, _better(row, lineup.offered)) for row in rows]
    return [
        *(_far(row) for row in rows if not is_usable(row)),
        *(_slow(row, lineup.base) for row in slow),
        *(_beaten(row, better) for row, better in pairs if better is not None),
    ]


def _far(row: Evaluation) -> str:
    advice = "do not ship it" if verdict(row) == "broken" else "test it before you ship it"
    if row.embedded is not None:
        return (
            f"{code(row.artifact)} is **{verdict(row)}**: {_far_off(row)}, "
            f"{yardstick_of(row).closeness(row)}; {advice}."
        )
    quality = row.quality
    return (
        f"{code(row.artifact)} is **{verdict(row)}**: {_far_off(row)}, "
        f"perplexity {quality.perplexity_ratio.value:.2f} times that of FP16, FP16's most likely "
        f"next token in only {percent(quality.top1_agreement.value, 0)} of cases; {advice}."
    )


def _slow(row: Evaluation, base: Evaluation) -> str:
    verb = "answers" if row.embedded is None else "embeds"
    unit = yardstick_of(row).unit
    return (
        f"{code(row.artifact)} {verb} **more slowly than FP16** here: {answering(row):,.1f} {unit} "
        f"against {answering(base):,.1f}; it saves space only."
    )


def _better(row: Evaluation, others: Sequence[Evaluation]) -> Evaluation | None:
    """The closest row of the same runtime that is better or level on all counts."""
    better = [
        one
        for one in others
        if one.backend == row.backend
        and is_clearly_closer(one, row)
        and one.size.bytes <= row.size.bytes
        and answering(one) > answering(row)
        and reading(one) > reading(row)
    ]
    return min(better, key=distance) if better else None


def _beaten(row: Evaluation, better: Evaluation) -> str:
    own = yardstick_of(row)
    first, second = own.speeds
    return (
        f"{code(row.artifact)} is **beaten on every count** by {code(better.artifact)} of the same "
        f"runtime, which is no larger: {_far_off(better)} against {own.show(distance(row))}, "
        f"{first} {answering(better):,.0f} against {answering(row):,.0f} and {second} "
        f"{reading(better):,.0f} against {reading(row):,.0f} {own.unit}."
    )
