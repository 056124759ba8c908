"""Quantization as core sees it: recipes, which storage each parameter gets, and channel scaling as a model states it."""
