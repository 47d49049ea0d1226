"""What the base does on the calibration's text, measured once for every method; and GPTQ, which
rounds by it in more than one format."""
