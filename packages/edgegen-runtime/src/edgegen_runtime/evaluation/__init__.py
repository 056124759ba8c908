"""Perplexity, divergence and speed of exported models."""
