"""A graph computed in arithmetic that is the same on every processor: what bytes depend on.

onnxruntime's kernels differ by processor. Here products are canonical, onnxruntime's own operators
those of `contrib.py`, and all others those of ONNX's reference implementation in numpy. Weights
stay mapped into memory, and what no later node reads is dropped.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from scripts.backends.onnx.cache import empty_cache, is_cache
from scripts.backends.onnx.contrib import KERNELS, Array
from scripts.errors import QuantmakeError

_RUNNERS = ("", "ai.onnx")
_REACH = 4  # of the MatMuls of a layer


class Evaluator:
    """`model` computed for one sequence at a time; may be called by several threads at once."""

    def __init__(self, model: ir.Model) -> None:
        """Raises QuantmakeError for a graph with operators that it does not know."""
        self._nodes = list(model.graph)
        self._made_by = {str(out.name): node for node in self._nodes for out in node.outputs}
        self._constants = {
            str(name): value.const_value.numpy()
            for name, value in model.graph.initializers.items()
            if value.const_value is not None
        }
        self._inputs = {str(entry.name): entry for entry in model.graph.inputs}
        opsets = [onnx.helper.make_opsetid(*one) for one in model.opset_imports.items()]
        self._kernels: dict[ir.Node, Callable[..., Any]] = {}
        unknown = set()
        for node in self._nodes:
            try:
                self._kernels[node] = _kernel(node, opsets)
            except (NotImplementedError, RuntimeError, KeyError):
                unknown.add(f"{node.domain or 'ai.onnx'}.{node.op_type}")
        if unknown:
            raise QuantmakeError(
                f"the graph has operators that can't be computed the same on every processor: "
                f"{', '.join(sorted(unknown))}. Nothing that is chosen by measuring the graph "
                "(`method: static`, `weight_only: auto`) can be made of it; take another method."
            )

    def values(
        self,
        names: Iterable[str],
        tokens: Array,
        instead: Mapping[str, str] | None = None,
        known: Mapping[str, Array] | None = None,
    ) -> Iterator[tuple[str, Array]]:
        """What the nodes give out under these names for a sequence of tokens [n], from an empty
        cache, in the order in which it is computed.

        Where `instead` has a value's name, nodes read the other value in its place. `known` values,
        of another run on the same tokens, are taken as they are.
        """
        given, wanted, other = {**self._feeds(tokens), **(known or {})}, set(names), instead or {}
        order, last = self._plan(wanted, given, other)
        for place, node in enumerate(order):
            read = [_name(value, other) for value in node.inputs]
            inputs = [
                (given[name] if name in given else self._constants[name]) if name else None
                for name in read
            ]
            made = self._kernels[node](inputs)
            fixed = all(not name or name in self._constants for name in read)
            for out, value in zip(node.outputs, made, strict=False):
                if out.name and value is not None:
                    (self._constants if fixed else given)[out.name] = value
                    if out.name in wanted:
                        yield out.name, value
            for name in read:
                if last.get(name) == place:
                    given.pop(name, None)

    def starts(self, wanted: str, names: Sequence[str]) -> dict[str, frozenset[str]]:
        """For each of `names`, which nodes give out on the way to `wanted`, the values to be known
        by a run that begins shortly before it.

        A run begins where few values are still to be read, at the latest such place since the
        `_REACH` names before: masks and angles are read to the end of most graphs and not of all,
        so no number is few everywhere. Values that a run has found to depend on weights alone are
        known anyway.
        """
        order, last = self._plan([wanted], self._feeds(np.zeros(1, np.int64)), {})
        live, places = set[str](), dict[str, int]()
        before: list[frozenset[str]] = []
        for place, node in enumerate(order):
            before.append(frozenset(live))
            live -= {name for name in live if last[name] == place}
            live |= {out for out in _outputs(node) if out in last and out not in self._constants}
            places |= dict.fromkeys(_outputs(node), place)
        ordered = sorted(places[name] for name in names)
        begins = {
            end: min(
                range(ordered[max(0, number - _REACH)] if number else 0, end + 1),
                key=lambda place: (len(before[place]), -place),
            )
            for number, end in enumerate(ordered)
        }
        return {name: before[begins[places[name]]] for name in names}

    def _plan(
        self, names: Iterable[str], given: Mapping[str, Array], other: Mapping[str, str]
    ) -> tuple[list[ir.Node], dict[str, int]]:
        """The nodes that are needed, in order, and where each value is read last."""
        needed, waiting = set[ir.Node](), list(names)
        while waiting:
            name = waiting.pop()
            node = self._made_by.get(name)
            if node is None or node in needed or name in given or name in self._constants:
                continue
            needed.add(node)
            waiting.extend(filter(None, (_name(value, other) for value in node.inputs)))
        order = [node for node in self._nodes if node in needed]
        last = {
            name: place
            for place, node in enumerate(order)
            for name in filter(None, (_name(value, other) for value in node.inputs))
        }
        return order, last

    def _feeds(self, tokens: Array) -> dict[str, Array]:
        known: dict[str, Array] = {
            "input_ids": tokens[None].astype(np.int64),
            "attention_mask": np.ones((1, len(tokens)), np.int64),
            "position_ids": np.arange(len(tokens), dtype=np.int64)[None],
        }
        feeds = {name: known[name] for name in self._inputs if name in known}
        for name, entry in self._inputs.items():
            if is_cache(name) and entry.shape is not None:
                shape = empty_cache(name, [str(one) for one in entry.shape])
                feeds[name] = np.zeros(shape, np.float32)
        return feeds


def _name(value: ir.Value | None, other: Mapping[str, str]) -> str:
    """What is read where a node names `value`; empty for an input that is left out."""
    name = "" if value is None else str(value.name or "")
    return other.get(name, name)


def _outputs(node: ir.Node) -> list[str]:
    """The names of what a node gives out; those that are left out have none."""
    return [str(out.name) for out in node.outputs if out.name]


def _kernel(node: ir.Node, opsets: list[Any]) -> Callable[..., Any]:
    """A function from the inputs of a node to its outputs."""
    attributes = {name: entry.value for name, entry in node.attributes.items()}
    if node.op_type in KERNELS:
        return partial(_ours, node.op_type, attributes)
    if node.domain not in _RUNNERS:
        raise NotImplementedError(node.op_type)
    proto = ir.to_proto(node)
    assert isinstance(proto, onnx.NodeProto)
    inputs, outputs = [[f"{kind}{at}" for at in range(len(of))] for kind, of in _ends(node)]
    kept = [
        name if value is not None else "" for name, value in zip(inputs, node.inputs, strict=True)
    ]
    for field, names in ((proto.input, kept), (proto.output, outputs)):
        del field[:]
        field.extend(names)
    function = onnx.helper.make_function(
        "node", node.op_type, [name for name in kept if name], outputs, [proto], opsets
    )
    return partial(_theirs, ReferenceEvaluator(function), kept)


def _ends(node: ir.Node) -> tuple[tuple[str, Sequence[Any]], tuple[str, Sequence[Any]]]:
    return ("in", node.inputs), ("out", node.outputs)


def _ours(kind: str, attributes: Mapping[str, Any], inputs: Sequence[Array | None]) -> Any:
    return KERNELS[kind](inputs, attributes)


def _theirs(
    evaluator: ReferenceEvaluator, names: Sequence[str], inputs: Sequence[Array | None]
) -> Any:
    given = {name: value for name, value in zip(names, inputs, strict=True) if name}
    return evaluator.run(None, given, attributes={})
