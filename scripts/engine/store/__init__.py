"""What is kept of results: manifests, the local and the shared store, the lock files."""
