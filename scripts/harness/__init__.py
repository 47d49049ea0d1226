"""`doit lm-eval`: EleutherAI's lm-evaluation-harness over any artefact, for its own tasks."""
