"""`doit publish`: artefacts with all that is said of them, to the hub, a registry or a folder."""
