"""Decoder architectures that several model families share."""
