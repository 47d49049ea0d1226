"""The cache of a graph, which is an input and an output of it, as the model's own state."""

import numpy as np
import openvino as ov
from openvino import opset13 as ops
from openvino.op import assign
from openvino.op.util import Variable, VariableInfo

from scripts.backends.openvino.attention import OPERATOR, Attention

TOKENS, MASK, BEAMS = "input_ids", "attention_mask", "beam_idx"
_PAST, _PRESENT = "past_key_values", "present"


def keep_cache(model: ov.Model) -> None:
    """Make the cache state; grouped-query attention becomes operations of OpenVINO.

    The inputs are then `input_ids` and `attention_mask` as before, and `beam_idx` [batch], the row
    of the cache that each row continues: what OpenVINO's own tools for language models expect.
    """
    tokens, mask = model.input(TOKENS), model.input(MASK)
    rows = ops.parameter([-1], ov.Type.i32, BEAMS)
    rows.output(0).get_tensor().set_names({BEAMS})
    batch = ops.gather(ops.shape_of(tokens), np.array([0]), np.int64(0))
    results = []
    for past in [one for one in model.inputs if one.get_any_name().startswith(_PAST)]:
        name = past.get_any_name()
        shape = past.get_partial_shape()
        empty = ops.concat([batch, np.array([shape[1].get_length(), 0, shape[3].get_length()])], 0)
        variable = _variable(name + name.replace(_PAST, _PRESENT), shape)
        state = ops.read_value(ops.broadcast(np.float32(0), empty), variable)
        cached = ops.gather(state, rows, np.int64(0))
        for reader in past.get_target_inputs():
            reader.replace_source_output(cached.output(0))
        results.append((model.output(name.replace(_PAST, _PRESENT)).get_node(), variable))
        model.remove_parameter(past.get_node())
    attention = Attention(tokens, mask)
    for node in [one for one in model.get_ordered_ops() if one.get_type_name() == OPERATOR]:
        attention.replace(node)
    model.add_parameters([rows])
    model.add_sinks([assign(one.input_value(0).get_node(), variable) for one, variable in results])
    for result, _ in results:
        model.remove_result(result)
    model.validate_nodes_and_infer_types()


def _variable(name: str, shape: ov.PartialShape) -> Variable:
    info = VariableInfo()
    info.variable_id, info.data_shape, info.data_type = name, shape, ov.Type.f32
    return Variable(info)
