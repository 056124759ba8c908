"""Helpers for the tests of edgegen and of its plugins; each module is imported by itself."""
