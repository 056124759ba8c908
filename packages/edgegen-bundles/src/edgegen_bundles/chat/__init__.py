"""Chat templates as bundles state them: Jinja source, or prefixes and suffixes of turns."""
