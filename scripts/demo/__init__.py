"""`doit demo`: an artefact answers in the browser, by the files that a web site would serve."""
