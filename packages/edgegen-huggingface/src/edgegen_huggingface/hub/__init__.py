"""Repositories of the Hugging Face hub as checkpoints: named, downloaded once, opened from the cache."""
