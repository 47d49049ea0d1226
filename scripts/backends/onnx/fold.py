"""Scaling the columns of activations without changing the function.

A MatMul's input x may be divided by positive factors [K], column by column, when its weight's
rows are multiplied by them and what makes x is divided: the weight of the norm before it, the
columns of `up_proj` before `down_proj`, or those of `v_proj` before `o_proj`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from scripts.backends.onnx.graph import Linear, constant, linears

_NORMS = {"SimplifiedLayerNormalization": 1, "SkipSimplifiedLayerNormalization": 2}


@dataclass(frozen=True)
class Site:
    """The MatMuls that read one activation, and the constant whose last axis makes it.

    `first` is where in the constant's last axis the activation's columns begin; `repeats` says
    how many query heads share each of the constant's heads of `head` columns.
    """

    readers: tuple[Linear, ...]
    maker: ir.Node
    place: int
    first: int = 0
    head: int = 1
    repeats: int = 1

    @property
    def name(self) -> str:
        """The name of the activation."""
        source = self.readers[0].node.inputs[0]
        return str(source.name) if source is not None else ""

    def shared(self, factors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Factors [K] made equal where several columns are copies of one: their geometric mean."""
        if self.repeats == 1:
            return factors
        grouped = np.log(factors).reshape(-1, self.repeats, self.head).mean(1, keepdims=True)
        whole = np.broadcast_to(grouped, (grouped.shape[0], self.repeats, self.head))
        shared: NDArray[np.float32] = np.exp(whole).reshape(-1).astype(np.float32)
        return shared


def sites(model: ir.Model) -> list[Site]:
    """Every activation that factors can be folded into, in the order of the graph.

    The head is left out: its weight is often the embedding too.
    """
    everything = linears(model)
    outputs = {value.name for value in model.graph.outputs}
    by_input: dict[ir.Value, list[Linear]] = {}
    for linear in everything:
        source = linear.node.inputs[0]
        if source is not None:
            by_input.setdefault(source, []).append(linear)
    foldable = []
    for value, readers in by_input.items():
        users = {use.node for use in value.uses()}
        is_head = any(one.node.outputs[0].name in outputs for one in readers)
        if users != {one.node for one in readers} or is_head:
            continue
        site = _site(value, tuple(readers), {one.node for one in everything})
        if site is not None:
            foldable.append(site)
    return foldable


def _site(value: ir.Value, readers: tuple[Linear, ...], products: set[ir.Node]) -> Site | None:
    maker = value.producer()
    if maker is None or maker.outputs[0] is not value:  # a norm's other output is the residual
        return None
    if maker.op_type in _NORMS:
        return Site(readers, maker, _NORMS[maker.op_type])
    if maker.op_type == "Mul":
        for factor in maker.inputs:
            up = factor.producer() if factor is not None else None
            if up in products and up is not None and len(list(up.outputs[0].uses())) == 1:
                return Site(readers, up, 1)
    if maker.op_type == "GroupQueryAttention":
        return _attention(maker, readers, products)
    return None


def _attention(maker: ir.Node, readers: tuple[Linear, ...], products: set[ir.Node]) -> Site | None:
    heads = maker.attributes["num_heads"].as_int()
    shared = maker.attributes["kv_num_heads"].as_int()
    head = readers[0].columns // heads
    values = maker.inputs[2] if maker.inputs[2] is not None else maker.inputs[0]
    product = values.producer() if values is not None else None
    if product is None or product not in products:
        return None
    first = 0 if maker.inputs[2] is not None else (heads + shared) * head
    return Site(readers, product, 1, first, head, heads // shared)


def fold(model: ir.Model, site: Site, factors: NDArray[np.float32]) -> None:
    """Divide a site's activation by factors [K]; equal ones where columns are copies of one."""
    for linear in site.readers:
        _change(model, linear.node, 1, linear.weight() * factors[:, None])
    source = site.maker.inputs[site.place]
    assert source is not None
    assert source.const_value is not None
    made = source.const_value.numpy().astype(np.float32)
    own = factors.reshape(-1, site.repeats, site.head)[:, 0].reshape(-1)
    divided = made.copy()
    divided[..., site.first : site.first + len(own)] /= own
    _change(model, site.maker, site.place, divided)


def _change(model: ir.Model, node: ir.Node, place: int, value: NDArray[np.float32]) -> None:
    """Give one node another constant; the old one is dropped when the graph is written."""
    old = node.inputs[place]
    assert old is not None
    name = str(old.name)
    if len(list(old.uses())) == 1:
        old.const_value = ir.tensor(np.ascontiguousarray(value), name=name)
        return
    node.replace_input_with(place, constant(model, f"{name}_folded_{node.name}", value))


def readers_weight(readers: Sequence[Linear]) -> NDArray[np.float32]:
    """The weights of all readers of one activation beside each other, [K, ΣN]."""
    return np.concatenate([one.weight() for one in readers], axis=1)
