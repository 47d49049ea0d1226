"""The graph of a build. `doit list` prints its tasks, `doit` builds what is stale.

source ──► base ──► reference (log-probabilities of the FP16 model)
            ├─────► calibration ──┬─► capture, gradients (what calibrated formats learn from it)
            ├─────► graph (ONNX) ─┴─► artifact:model-int8, -static, -dynamic, model-int4-onnx
            ├───────────────────────► artifact:model-int4 (and the capture)
            └─────► f16 (GGUF) ─────► artifact:model.gguf          every artefact ──► checksums
                                      evaluate:… (each artefact beside the base) ──► report
"""

from scripts.backends.gguf.encoder.f16 import EncoderF16
from scripts.backends.gguf.f16 import F16Gguf
from scripts.backends.gguf.toolchain import Toolchain
from scripts.backends.onnx.encoder.export import EncoderGraph
from scripts.backends.onnx.export import OnnxGraph
from scripts.base.encoder import EncoderBase
from scripts.base.make_base import Base
from scripts.calibration.capture import Capture
from scripts.calibration.encoder_capture import EncoderCapture
from scripts.calibration.encoder_sentences import EncoderCalibration
from scripts.calibration.gradients import Gradients
from scripts.calibration.tokens import Calibration
from scripts.cards.write_cards import Cards
from scripts.engine.commands.run import settings
from scripts.engine.graph.origin import origin
from scripts.engine.graph.tasks import build, listing, publish
from scripts.engine.store.lock import LockFile
from scripts.evaluation.budget import JUDGEMENT_NAME
from scripts.evaluation.encoder import EncoderEvaluate, EncoderReference, EncoderTimeAll
from scripts.evaluation.evaluate import Evaluate
from scripts.evaluation.reference import Reference
from scripts.evaluation.sensitivity import MeasureSensitivity
from scripts.evaluation.timings import TimeAll
from scripts.recipe.load import load_or_exit
from scripts.recipe.recipe import TOOLCHAIN, distinct_sources, memory_limits
from scripts.report.gate import Gate
from scripts.report.history import FIGURES, committed_figures
from scripts.report.write_report import HTML_NAME, WriteReport

RECIPES = load_or_exit()
DECODERS = [r for r in RECIPES if not r.is_encoder]
DOIT_CONFIG = settings(["checksums", "cards", "report"], memory_limits(RECIPES), ("report",))


def task_source():
    """Fetch models and texts; check their digests"""
    for path, fetch in distinct_sources(RECIPES).items():
        yield build(f"source:{path.name}", path, fetch)


def task_toolchain():
    """Fetch llama.cpp's own converter, of the installed version"""
    yield build("toolchain", TOOLCHAIN, Toolchain())


def task_base():
    """Make the FP16 base: Hugging Face layout, safetensors, tokenizer"""
    for r in RECIPES:
        stage = EncoderBase if r.is_encoder else Base
        base, source = r.node("base"), r.source(r.model)
        yield build(r.task("base"), base, stage(**r.model.options()), source=source)


def task_reference():
    """Score the evaluation's text with the FP16 base, or embed its sentences"""
    for r in RECIPES:
        kind = EncoderReference if r.is_encoder else Reference
        stage = kind(**r.reference_options())
        yield build(r.task("reference"), r.node("reference"), stage, **r.reference_inputs())


def task_calibration():
    """Choose the calibration's tokens or sentences, disjoint from the evaluation's"""
    for r in RECIPES:
        stage = EncoderCalibration if r.is_encoder else Calibration
        chosen, inputs = stage(**r.calibration_options()), r.calibration_inputs()
        yield build(r.task("calibration"), r.node("calibration"), chosen, **inputs)


def task_gradients():
    """Measure how the model's output depends on each linear (Fisher information)"""
    for r in DECODERS:
        inputs = {"base": r.node("base"), "calibration": r.node("calibration")}
        yield build(r.task("gradients"), r.node("gradients"), Gradients(device=r.device), **inputs)


def task_capture():
    """Observe what the calibration's text feeds to every linear layer"""
    for r in RECIPES:
        inputs = {"base": r.node("base"), "calibration": r.node("calibration")}
        stage = EncoderCapture() if r.is_encoder else Capture(device=r.device)
        yield build(r.task("capture"), r.node("capture"), stage, **inputs)


def task_graph():
    """Export the fp32 ONNX graph that all ONNX artefacts share"""
    for r in RECIPES:
        stage = EncoderGraph() if r.is_encoder else OnnxGraph()
        yield build(r.task("graph"), r.node("graph"), stage, base=r.node("base"))


def task_f16():
    """Convert the base to GGUF in F16, which all GGUF artefacts share"""
    for r in RECIPES:
        kind = EncoderF16 if r.is_encoder else F16Gguf
        stage = kind(name=r.title, tokenizer_pre=r.model.tokenizer_pre)
        inputs = {"base": r.node("base"), "toolchain": TOOLCHAIN}
        yield build(r.task("f16"), r.node("f16.gguf"), stage, **inputs)


def task_artifact():
    """Build the artefacts that the recipe asks for"""
    for r in RECIPES:
        for name, format in r.artifacts.items():
            inputs, lock = r.inputs(format), LockFile(r.lock)
            yield build(r.task("artifact", name), r.out / name, format, lock=lock, **inputs)


def task_checksums():
    """Keep SHA256SUMS of all artefacts, and no others in the lock"""
    for r in RECIPES:
        artifacts, lock = [r.out / name for name in r.artifacts], LockFile(r.lock)
        gate = Gate(r.node("report"), r.out) if r.header.budgets else None
        yield listing(r.task("checksums"), r.out / "SHA256SUMS", artifacts, lock, gate)


def task_evaluate():
    """Measure each artefact, and the float model in each runtime, against the FP16 base"""
    for r in RECIPES:
        kind = EncoderEvaluate if r.is_encoder else Evaluate
        for row in r.rows():
            stage = kind(artifact=row.name, backend=row.backend)
            inputs = {"artifact": row.path, "base": r.node("base")}
            inputs["reference"] = r.node("reference")
            yield build(r.task("evaluate", row.name), r.evaluation(row), stage, **inputs)


def task_timings():
    """Time all rows in turn, on this machine"""
    for r in RECIPES:
        kind = EncoderTimeAll if r.is_encoder else TimeAll
        stage = kind(rows={row.name: row.backend for row in r.rows()})
        inputs = {f"artifact/{row.name}": row.path for row in r.rows()}
        inputs["reference"] = r.node("reference")
        yield build(r.task("timings"), r.node("timings.json"), stage, **inputs)


def task_sensitivity():
    """Round each layer alone and measure what it does to the predictions"""
    for r in DECODERS:
        stage, out = MeasureSensitivity(device=r.device), r.node("sensitivity.json")
        inputs = {"base": r.node("base"), "calibration": r.node("calibration")}
        yield build(r.task("sensitivity"), out, stage, **inputs)


def task_pages():
    """Write the report, as Markdown and as a page, and its charts from the stored evaluations"""
    for r in RECIPES:
        committed = committed_figures(r.report_folder / "charts" / FIGURES)
        stage = WriteReport(facts=r.facts(), committed=committed)
        yield build(r.task("_pages"), r.node("report"), stage, **r.report_inputs())


def task_origin():
    """Keep what each artefact was made from"""
    for r in RECIPES:
        for name in r.artifacts:
            yield origin(r.task("_origin", name), r.origin(name), r.out / name)


def task_texts():
    """Write model cards, bills of materials and statements of provenance"""
    for r in RECIPES:
        stage = Cards(subject=r.subject())
        yield build(r.task("_texts"), r.node("cards"), stage, **r.card_inputs())


def task_cards():
    """Put the cards beside the artefacts"""
    for r in RECIPES:
        yield publish(r.task("cards"), r.node("cards"), r.out)


def task_report():
    """Evaluate what is stale, put the report in its place, set aside what breaks its budget"""
    for r in RECIPES:
        gate, places = Gate(r.node("report"), r.out), {HTML_NAME: r.out, JUDGEMENT_NAME: None}
        yield publish(r.task("report"), r.node("report"), r.report_folder, places, judge=gate)
