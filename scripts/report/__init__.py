"""QUANTISATION-REPORT.md: prose, tables, charts and snippets, from stored evaluations."""
