"""What goes beside an artefact: a model card, a bill of materials, a statement of provenance."""
