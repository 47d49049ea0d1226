"""The build engine: manifests, action keys, commits and state. It knows nothing of models."""
