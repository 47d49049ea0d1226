"""Which artefact to take for what, and what to be wary of, from the numbers alone."""

from collections.abc import Callable, Iterator, Sequence

from scripts.backends.face import face_of, faces
from scripts.evaluation.result import Evaluation
from scripts.report.lineup import Lineup, by_size, code, decode, kld, listed, megabytes, prefill
from scripts.report.measures import MEASURES, SPEED_MARGIN
from scripts.report.numbers import divergence, percent, ratio
from scripts.report.parts import Advice, Badge, Pick, Recommendation, Table
from scripts.report.verdicts import USABLE, is_clearly_closer, is_usable, rank, verdict

_ON_CARDS = ("bytes", "kld", "prefill", "decode")


def _distance(row: Evaluation) -> str:
    return f"KL divergence {divergence(kld(row))} ({verdict(row)})"


def _size(row: Evaluation) -> str:
    return f"{megabytes(row):,.0f} MB"


def _best_verdict(rows: Sequence[Evaluation]) -> list[Evaluation]:
    best = min(map(rank, rows))
    return [row for row in rows if rank(row) == best]


def headline(lineup: Lineup) -> Pick:
    """The one to take by default: of the best verdict there is, the one that answers fastest."""
    best = _best_verdict(lineup.offered)
    chosen = _quickest(best, decode)
    share = chosen.size.bytes / lineup.base.size.bytes
    reason = (
        f"Its verdict is “{verdict(chosen)}”: it picks FP16's most likely next token in "
        f"{percent(chosen.quality.top1_agreement.value)} of cases. It takes {percent(share, 0)} of "
        f"FP16's size and writes {decode(chosen):,.0f} tokens a second"
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
        _fastest("Fastest answers (decode)", decode, lineup),
        _fastest("Fastest reading of long prompts (prefill)", prefill, lineup),
    ]


def _closest(lineup: Lineup) -> Pick:
    first = min(lineup.offered, key=kld)
    level = [row for row in lineup.offered if not is_clearly_closer(first, row)]
    best = min(level, key=by_size)
    reason = (
        f"{_distance(best)}; FP16's most likely next token in "
        f"{percent(best.quality.top1_agreement.value)} of cases; {_size(best)}"
    )
    others = [row.artifact for row in level if row is not best]
    if others:
        reason += f"; {listed(others)} can't be told from it by this measurement, but is no smaller"
    return Pick("Closest to FP16", best.artifact, reason)


def _none_usable(purpose: str) -> Pick:
    return Pick(purpose, None, f"no artefact is near enough to FP16 (KL divergence below {USABLE})")


def _smallest(purpose: str, lineup: Lineup) -> Pick:
    usable = [row for row in lineup.offered if is_usable(row)]
    if not usable:
        return _none_usable(purpose)
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
    return min(level, key=kld)


def _fastest(purpose: str, speed: Callable[[Evaluation], float], lineup: Lineup) -> Pick:
    usable = [row for row in lineup.offered if is_usable(row)]
    if not usable:
        return _none_usable(purpose)
    best = _quickest(usable, speed)
    floats = dict.fromkeys([lineup.base.artifact, lineup.float_model(best).artifact])
    times = [
        f"{ratio(speed(best) / speed(one))} {one.label}"
        for one in lineup.baselines
        if one.artifact in floats and one.is_timed
    ]
    reason = ", ".join(filter(None, (f"{speed(best):,.0f} tokens/s", " and ".join(times))))
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
            reason = f"{_distance(best)}, {_size(best)}, {decode(best):,.0f} tokens/s"
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
    measures = [MEASURES[key] for key in _ON_CARDS]
    figures = [(one.name, one.amount(one.value(row, lineup))) for one in measures]
    runtime = ("runs with", face_of(row.backend).title)
    return Badge(row.artifact, verdict(row), rank(row), (*figures, runtime))


def warnings(lineup: Lineup) -> list[str]:
    """A sentence for each artefact that is broken or poor, slow, or beaten by another."""
    rows = lineup.artifacts
    slow = [row for row in rows if decode(row) < decode(lineup.base)]
    pairs = [(row, _better(row, lineup.offered)) for row in rows]
    return [
        *(_far(row) for row in rows if not is_usable(row)),
        *(_slow(row, lineup.base) for row in slow),
        *(_beaten(row, better) for row, better in pairs if better is not None),
    ]


def _far(row: Evaluation) -> str:
    quality = row.quality
    advice = "do not ship it" if verdict(row) == "broken" else "test it before you ship it"
    return (
        f"{code(row.artifact)} is **{verdict(row)}**: KL divergence {divergence(kld(row))}, "
        f"perplexity {quality.perplexity_ratio.value:.2f} times that of FP16, FP16's most likely "
        f"next token in only {percent(quality.top1_agreement.value, 0)} of cases; {advice}."
    )


def _slow(row: Evaluation, base: Evaluation) -> str:
    return (
        f"{code(row.artifact)} answers **more slowly than FP16** here: {decode(row):,.1f} tokens/s "
        f"against {decode(base):,.1f}; it saves space only."
    )


def _better(row: Evaluation, others: Sequence[Evaluation]) -> Evaluation | None:
    """The closest row of the same runtime that is better or level on all counts."""
    better = [
        one
        for one in others
        if one.backend == row.backend
        and is_clearly_closer(one, row)
        and one.size.bytes <= row.size.bytes
        and decode(one) > decode(row)
        and prefill(one) > prefill(row)
    ]
    return min(better, key=kld) if better else None


def _beaten(row: Evaluation, better: Evaluation) -> str:
    return (
        f"{code(row.artifact)} is **beaten on every count** by {code(better.artifact)} of the same "
        f"runtime, which is no larger: KL divergence {divergence(kld(better))} against "
        f"{divergence(kld(row))}, decode {decode(better):,.0f} against {decode(row):,.0f} and "
        f"prefill {prefill(better):,.0f} against {prefill(row):,.0f} tokens/s."
    )
