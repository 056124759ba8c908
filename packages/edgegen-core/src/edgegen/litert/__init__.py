"""Running a ``.tflite`` file on LiteRT."""
