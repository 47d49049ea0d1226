"""Where models and texts come from; all are pinned by content hash."""
