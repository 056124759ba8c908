"""Post-training passes over weights: GPTQ rounding and SmoothQuant channel scaling, with the calibration data that they read."""
