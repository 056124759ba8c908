"""Decoders that several families are rows of."""
