"""Scaling the columns of activations without changing the function.

A MatMul's input x may be divided by positive factors [K], column by column, when its weight's
rows are multiplied by them and what makes x is divided: the weight of the norm before it, the
columns of `up_proj` before `down_proj`, or those of `v_proj` before `o_proj`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from scripts.backends.openvino.graph import Linear, head, linears

_MOVES = ("Transpose", "Reshape", "Unsqueeze", "Broadcast")


@dataclass(frozen=True)
class Site:
    """The MatMuls that read one activation, and the constant whose last axis makes it.

    `place` is the input of `maker` that is the constant, `first` where in its last axis the
    activation's columns begin; `repeats` says how many query heads share each of its heads of
    `head` columns.
    """

    readers: tuple[Linear, ...]
    maker: ov.Node
    place: int
    first: int = 0
    head: int = 1
    repeats: int = 1

    def shared(self, factors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Factors [K] made equal where several columns are copies of one: their geometric mean."""
        grouped = np.log(factors).reshape(-1, self.repeats, self.head).mean(1, keepdims=True)
        whole = np.repeat(grouped, self.repeats, 1)
        return np.exp(whole).reshape(-1).astype(np.float32) if self.repeats > 1 else factors


def sites(model: ov.Model) -> list[Site]:
    """Every activation that factors can be folded into, in the order of the graph.

    The head is left out: its weight is often the embedding too.
    """
    products = {one.name: one for one in linears(model)}
    last, found = head(model), []
    by_input: dict[tuple[str, int], list[Linear]] = {}
    for linear in products.values():
        source = linear.node.input_value(0)
        key = source.get_node().get_friendly_name(), source.get_index()
        by_input.setdefault(key, []).append(linear)
    for readers in by_input.values():
        source = readers[0].node.input_value(0)
        users = {one.get_node().get_friendly_name() for one in source.get_target_inputs()}
        names = {one.name for one in readers}
        if users == names and last not in names:
            site = _site(source.get_node(), tuple(readers), products)
            found += [site] if site is not None else []
    return found


def _site(
    maker: ov.Node, readers: tuple[Linear, ...], products: Mapping[str, Linear]
) -> Site | None:
    if maker.get_type_name() == "Multiply":
        for place in (0, 1):
            factor = maker.input_value(place).get_node()
            is_weight = factor.get_type_name() == "Constant"
            if is_weight and list(factor.shape)[-1:] == [readers[0].columns]:
                return Site(readers, maker, place)
            up = products.get(factor.get_friendly_name())
            if up is not None and len(up.node.output(0).get_target_inputs()) == 1:
                return Site(readers, up.node, 1)
        return None
    attention = _behind(maker)
    if attention.get_type_name() == "ScaledDotProductAttention":
        return _attention(attention, readers, products)
    return None


def _attention(
    node: ov.Node, readers: tuple[Linear, ...], products: Mapping[str, Linear]
) -> Site | None:
    """Where the values come from a MatMul, beside queries and keys or alone."""
    heads = node.input_value(0).get_partial_shape()[1].get_length()
    joined = _behind(node.input_value(2).get_node())
    if joined.get_type_name() != "Concat":
        return None
    values = joined.input_value(1)
    shape = values.get_partial_shape()
    if values.get_node().get_type_name() == "VariadicSplit":
        maker, first = _behind(values.get_node().input_value(0).get_node()), values.get_index()
    else:
        maker, first = _behind(values.get_node()), 0
    shared, width = shape[1].get_length(), shape[3].get_length()
    product = products.get(maker.get_friendly_name())
    if product is None or first not in (0, 2):
        return None
    return Site(
        readers,
        product.node,
        1,
        (heads + shared) * width if first else 0,
        width,
        heads // shared,
    )


def _behind(node: ov.Node) -> ov.Node:
    """What a node only moves or repeats."""
    while node.get_type_name() in _MOVES:
        node = node.input_value(0).get_node()
    return node


def fold(site: Site, factors: NDArray[np.float32]) -> None:
    """Divide a site's activation by factors [K]; equal ones where columns are copies of one."""
    for linear in site.readers:
        _change(linear.node, 1, linear.weight() * factors[:, None])
    own = factors.reshape(-1, site.repeats, site.head)[:, 0].reshape(-1)
    divided = site.maker.input_value(site.place).get_node().data.astype(np.float32)
    divided[..., site.first : site.first + len(own)] /= own
    _change(site.maker, site.place, divided)


def _change(node: ov.Node, place: int, value: NDArray[np.float32]) -> None:
    """Give one node another constant."""
    old = node.input_value(place)
    name = old.get_node().get_friendly_name()
    alone = len(old.get_target_inputs()) == 1
    fresh = ops.constant(value, name=name if alone else f"{name}_of_{node.get_friendly_name()}")
    node.input(place).replace_source_output(fresh.output(0))
