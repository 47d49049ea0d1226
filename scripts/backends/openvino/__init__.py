"""OpenVINO: the float graph as an IR whose weights are compressed."""
