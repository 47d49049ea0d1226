"""`doit demo`: an artefact answers in the browser, by the very files that a web site would serve."""
