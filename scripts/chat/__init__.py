"""`doit chat` and `doit compare`: artefacts answer in the terminal."""
