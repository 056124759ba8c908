"""The contract of exporter and runtime for generative models: signature names and ``manifest.json``."""
