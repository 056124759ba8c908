"""Quantization as core sees it: schemes by recipe, storage of each parameter, scaling groups, passes over weights."""
