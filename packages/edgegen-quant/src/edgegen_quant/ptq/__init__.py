"""Post-training passes over weights: GPTQ, SmoothQuant, and the calibration data that they read."""
