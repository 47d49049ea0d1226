"""The table of backends: one row for each kind of files, which nothing else names.

The modules are named, not imported: a graph is drawn without torch, onnxruntime and llama.cpp.
"""

from dataclasses import dataclass

IN_NO_KEY = "it names modules; a stage that loads one of them names it in `reaches`"


@dataclass(frozen=True)
class FloatModel:
    """The unquantised model as a backend's runtime runs it: the node of the graph that holds it,
    and its label. Every artefact of the backend is compared with it. `rounding` is how far its
    logits may be from the base's, in times their spread; see `scripts/backends/parity.py`. `name`
    is that of its row, where another backend runs the same node."""

    node: str
    label: str
    rounding: float = 0
    name: str = ""

    @property
    def row(self) -> str:
        """The name of its row in the report."""
        return self.name or self.node


@dataclass(frozen=True)
class Backend:
    """A kind of files with what quantises into it and what runs it.

    `formats` are modules that register formats, or packages of such modules; `loader` is the
    class, as module:Class, that loads an artefact as a `scripts.backends.model.Model`; `inventory`
    the function, as module:function, that gives its `scripts.backends.inventory.Inventory`.
    `packages` are the distributions that its figures depend on; `load_factor` is what a loaded
    artefact takes of memory, in times its size. `face` is the record, as module:NAME, of what
    people see of it; a backend that only computes the base has none. `encoder` is the class, as
    module:Class, that loads an encoder as a `scripts.backends.encoder.Encoder`, where there is one.
    """

    name: str
    loader: str
    inventory: str
    float_model: FloatModel
    packages: tuple[str, ...]
    load_factor: float = 1.3
    formats: tuple[str, ...] = ()
    face: str = ""
    site: str = ""
    encoder: str = ""


def modules_of(backend: str) -> tuple[str, ...]:
    """The modules that load an artefact and look into it, for `Stage.reaches`."""
    row = BACKENDS[backend]
    return tuple(name.partition(":")[0] for name in (row.loader, row.inventory))


def modules_of_encoder(backend: str) -> tuple[str, ...]:
    """The same where the artefact is an encoder."""
    row = BACKENDS[backend]
    return tuple(name.partition(":")[0] for name in (row.encoder, row.inventory))


_BASE = FloatModel("base", "FP16 base (PyTorch)")
_ONNX_GRAPH = FloatModel("graph", "FP32 graph (ONNX)", rounding=1e-3)
_TORCH = ("scripts.backends.torch_model:TorchModel", "scripts.backends.torch_inventory:inventory")

BACKENDS = {
    backend.name: backend
    for backend in (
        # It computes FP16 weights in FP32.
        Backend(
            "pytorch",
            *_TORCH,
            _BASE,
            packages=("torch", "transformers"),
            load_factor=2.0,
            encoder="scripts.backends.torch_encoder:TorchEncoder",
        ),
        Backend(
            "bitsandbytes",
            *_TORCH,
            _BASE,
            packages=("torch", "transformers", "bitsandbytes"),
            formats=("scripts.backends.bitsandbytes.format",),
            face="scripts.backends.bitsandbytes.face:FACE",
        ),
        Backend(
            "compressed-tensors",
            "scripts.backends.compressed_tensors.loader:CompressedModel",
            "scripts.backends.compressed_tensors.inventory:inventory",
            _BASE,
            packages=("torch", "transformers", "compressed-tensors"),
            # transformers turns the weights back into FP32.
            load_factor=8.0,
            formats=("scripts.backends.compressed_tensors.format",),
            face="scripts.backends.compressed_tensors.face:FACE",
        ),
        Backend(
            "onnx",
            "scripts.backends.onnx.loader:OrtModel",
            "scripts.backends.onnx.inventory:inventory",
            _ONNX_GRAPH,
            packages=("onnxruntime",),
            formats=("scripts.backends.onnx.formats", "scripts.backends.onnx.encoder.formats"),
            face="scripts.backends.onnx.face:FACE",
            site="scripts.backends.onnx.web.layout:layout_of",
            encoder="scripts.backends.onnx.encoder.loader:OrtEncoder",
        ),
        # Measured by onnxruntime: the graph at the folder's top reads the same weights.
        Backend(
            "onnx-web",
            "scripts.backends.onnx.loader:OrtModel",
            "scripts.backends.onnx.web.inventory:inventory",
            _ONNX_GRAPH,
            packages=("onnxruntime",),
            formats=("scripts.backends.onnx.web.formats",),
            face="scripts.backends.onnx.web.face:FACE",
            site="scripts.backends.onnx.web.layout:layout_as_it_is",
        ),
        Backend(
            "gguf",
            "scripts.backends.gguf.loader:LlamaModel",
            "scripts.backends.gguf.inventory:inventory",
            FloatModel("f16.gguf", "GGUF F16", rounding=1e-2),
            packages=("llama-cpp-python",),
            formats=("scripts.backends.gguf.format", "scripts.backends.gguf.encoder.format"),
            face="scripts.backends.gguf.face:FACE",
            encoder="scripts.backends.gguf.encoder.loader:LlamaEncoder",
        ),
        Backend(
            "openvino",
            "scripts.backends.openvino.loader:OpenVinoModel",
            "scripts.backends.openvino.inventory:inventory",
            FloatModel("graph", "FP32 graph (OpenVINO)", rounding=1e-3, name="graph-openvino"),
            packages=("openvino",),
            formats=("scripts.backends.openvino.formats",),
            face="scripts.backends.openvino.face:FACE",
        ),
        # Its packages are in an environment of their own; the base is read as it is.
        Backend(
            "mlx",
            "scripts.backends.mlx.loader:MlxModel",
            "scripts.backends.mlx.inventory:inventory",
            FloatModel("base", "FP16 base (MLX)", rounding=1e-2, name="base-mlx"),
            packages=("mlx", "mlx-lm"),
            formats=("scripts.backends.mlx.formats",),
            face="scripts.backends.mlx.face:FACE",
        ),
    )
}
YARDSTICK = next(iter(BACKENDS))
"""The backend that computes the FP16 base, which everything is compared with."""
