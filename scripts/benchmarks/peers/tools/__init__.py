"""The peers: one module for each, with a record `PEER` and what runs in its own environment."""
