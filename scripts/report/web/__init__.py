"""The template, style sheet and script of report.html, which is one file in the end."""
