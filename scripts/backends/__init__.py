"""The backends: a format of files, what quantises into it and what runs it; one folder each."""
