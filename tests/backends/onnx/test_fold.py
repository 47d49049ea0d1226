"""Folding factors into a graph: the function stays, the columns change."""

from pathlib import Path

import numpy as np

from scripts.backends.onnx.fold import fold, sites
from scripts.backends.onnx.graph import open_graph, save_graph
from tests.onnx_models import cached_logits


def test_every_site_of_the_graph(tiny_graph: Path) -> None:
    found = sites(open_graph(tiny_graph))
    names = [[one.name.split("/")[-2] for one in site.readers] for site in found]
    layer = [["qkv_proj"], ["o_proj"], ["gate_proj", "up_proj"], ["down_proj"]]
    assert sorted(names) == sorted(layer * 3)
    shared = next(site for site in found if "o_proj" in site.readers[0].name)
    assert (shared.first, shared.head, shared.repeats) == (128 + 64, 32, 2)


def test_function_stays_the_same(tiny_graph: Path, tmp_path: Path) -> None:
    model = open_graph(tiny_graph)
    rng = np.random.default_rng(0)
    before = {}
    for site in sites(model):
        width = site.readers[0].columns
        factors = site.shared(rng.uniform(0.2, 5, width).astype(np.float32))
        before[site.name] = site.readers[0].weight().copy(), factors
        fold(model, site, factors)
    for site in sites(model):
        weight, factors = before[site.name]
        ratio = np.median(site.readers[0].weight() / weight, axis=1)
        if "qkv" not in site.readers[0].name:  # whose columns o_proj's factors change too
            np.testing.assert_allclose(ratio, factors, rtol=0.2 if "gate" in site.name else 1e-5)
    save_graph(model, tiny_graph, tmp_path)
    ids = np.arange(40, dtype=np.int64)
    wanted, got = (cached_logits(folder, ids, 30) for folder in (tiny_graph, tmp_path))
    np.testing.assert_allclose(got, wanted, atol=1e-3)
