"""The names that transformers, optimum and transformers.js give an encoder's inputs and output."""

IDS, MASK, TYPES = "input_ids", "attention_mask", "token_type_ids"
STATES = "last_hidden_state"
