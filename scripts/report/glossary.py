"""What the words of a report mean, for a reader who has never quantised a model."""

from scripts.backends.face import faces
from scripts.report.facts import Facts
from scripts.report.lineup import Lineup
from scripts.report.measures import measures_of
from scripts.report.parts import Explanations, Section, Subtitle, Terms

NUMBERS = {
    "FP16": "16-bit floating point, the form in which most models are published: 2 bytes a weight. "
    "It is the yardstick; everything else is compared with it. (FP32 takes 4 bytes and adds "
    "nothing here, since these weights were made as FP16.)",
    "INT8, INT4": "Weights as integer codes of 8 bits (256 values) or 4 bits (16 values): a half "
    "or a quarter of FP16's size, and a little more for the scales.",
    "block, scale, zero point": "Weights are rounded in small groups, the blocks, often of 32 or "
    "64. Each block keeps a scale: the step between two neighbouring codes. Some formats also keep "
    "a zero point, the code that stands for 0, so that the 16 or 256 values need not lie evenly "
    "around it. Smaller blocks fit better and cost more bits.",
}
_EMBEDDING = {
    "FP16": "16-bit floating point: 2 bytes a weight. Encoders are mostly published in FP32, with "
    "4 bytes; rounding to FP16 turns their embeddings by less than anything here can show. It is "
    "the yardstick, computed with in FP32; everything else is compared with it.",
    "embedding": "A list of some hundred numbers that an encoder makes of a sentence, so that "
    "sentences of like meaning get lists that point the same way. Searches, recommendations and "
    "classifiers compare them.",
    "pooling": "How the states of a sentence's tokens become one embedding: their mean, or that of "
    "the first token (cls). Every artefact carries the source's.",
}
_WEIGHT_ONLY = {
    "weight-only": "Only the weights are stored as integer codes; they are turned back into "
    "floating point as they are used. It loses least and helps decoding most. All methods are of "
    "this kind, but for dynamic and static.",
}
_ERROR = {
    "±": "One standard error: the same measurement on other text of this kind would land within "
    "twice that, nineteen times in twenty.",
}


def glossary(facts: Facts, lineup: Lineup) -> Section:
    """The words of numbers and measures, and those of the methods and formats that are shown."""
    used = {row.backend for row in lineup.artifacts}
    formats = [term for name, face in faces().items() if name in used for term in face.terms]
    measures = {one.name: one.meaning for one in measures_of(lineup)}
    terms: dict[str, Terms] = {
        "Numbers": [*(NUMBERS | (_EMBEDDING if lineup.base.embedded else {})).items()],
        "Methods and types": [*(_WEIGHT_ONLY | facts.terms).items()],
        "Formats": formats,
        "Measures": [*(measures | _ERROR).items()],
    }
    parts = [part for title, own in terms.items() for part in (Subtitle(title), Explanations(own))]
    return Section("What the words mean", tuple(parts), "What the words mean")
