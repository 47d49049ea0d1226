"""Which part of a decoder layer makes what which linears read, for the families where scales can be
moved from the one to the others without changing the function."""

# RMSNorm multiplies by its weight itself (Gemma's by 1 + weight), the MLP is gated, and rotary
# positions act between Q and K only.
ARCHITECTURES = ("llama", "mistral", "qwen2", "qwen3")
# Which part of a layer is multiplied by the scales of a place, and which ones read its output.
READERS = {
    "input_layernorm": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "post_attention_layernorm": ("mlp.gate_proj", "mlp.up_proj"),
    "mlp.up_proj": ("mlp.down_proj",),
    "self_attn.v_proj": ("self_attn.o_proj",),
}
