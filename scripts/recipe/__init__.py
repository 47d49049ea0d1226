"""Reading recipes: what to build, checked before anything is done."""
