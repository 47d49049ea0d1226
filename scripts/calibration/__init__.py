"""What the base does on the calibration's text, measured once for every method."""
