"""The subcommands that this package adds: ``run``, ``embed``, ``evaluate``, ``bench``."""
