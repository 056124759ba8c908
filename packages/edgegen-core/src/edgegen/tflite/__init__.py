"""The LiteRT file: its operators' tables, writing, reading back, running. The only package that knows the schema."""
