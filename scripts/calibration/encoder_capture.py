"""One pass of the calibration's sentences through an encoder: what each linear layer is fed."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.footprints import FOOTPRINTS
from scripts.stage import Stage

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray


class EncoderCapture(Stage):
    """Observe the inputs of every linear layer of an encoder over the calibration's sentences

    Writes `statistics.safetensors`, for each linear by its Hugging Face name the float32 [columns]
    tensors `NAME.mean_square`, `NAME.minimum` and `NAME.maximum` of its input columns. Sentences go
    through one by one, so nothing is padded; sums are taken in their order.
    """

    footprint = FOOTPRINTS["evaluate"]

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Raises QuantmakeError for activations that are not finite."""
        import numpy as np
        import torch
        from safetensors.numpy import save_file

        from scripts.base.encoder_model import encoder_model
        from scripts.calibration.stored import STATISTICS
        from scripts.errors import QuantmakeError
        from scripts.progress import track
        from scripts.sentences import read_sentences
        from scripts.workers import one_thread

        model = encoder_model(inputs["base"], attention="eager")
        seen: dict[str, _Seen] = {}
        for name, module in model.named_modules():
            if isinstance(module, torch.nn.Linear):
                seen[name] = _Seen(module.in_features)
                module.register_forward_pre_hook(seen[name])
        with torch.inference_mode(), one_thread():
            for sentence in track(read_sentences(inputs["calibration"]).all, "capturing"):
                model(input_ids=torch.tensor([sentence]))
        broken = [name for name, one in seen.items() if not np.isfinite(one.square).all()]
        if broken:
            raise QuantmakeError(
                f"the inputs of these linears are not finite: {', '.join(broken)}. The base model "
                "or the text is broken."
            )
        tensors = {
            f"{name}.{kind}": value
            for name, one in seen.items()
            for kind, value in one.statistics().items()
        }
        save_file(tensors, out / STATISTICS)


class _Seen:
    """What one linear was fed; it is the module's hook."""

    def __init__(self, columns: int) -> None:
        import numpy as np

        self.rows = 0
        self.square = np.zeros(columns)
        self.minimum = np.full(columns, np.inf, np.float32)
        self.maximum = np.full(columns, -np.inf, np.float32)

    def __call__(self, _: "torch.nn.Module", given: "tuple[torch.Tensor, ...]") -> None:
        import numpy as np

        rows = given[0].detach().reshape(-1, given[0].shape[-1]).numpy()
        self.rows += len(rows)
        self.square += np.square(rows, dtype=np.float64).sum(0)
        self.minimum = np.minimum(self.minimum, rows.min(0))
        self.maximum = np.maximum(self.maximum, rows.max(0))

    def statistics(self) -> "dict[str, NDArray[np.float32]]":
        import numpy as np

        mean = (self.square / max(self.rows, 1)).astype(np.float32)
        return {"mean_square": mean, "minimum": self.minimum, "maximum": self.maximum}
