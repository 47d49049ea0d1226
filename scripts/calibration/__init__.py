"""What the formats learn from the calibration text."""
