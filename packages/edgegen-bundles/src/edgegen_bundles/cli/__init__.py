"""The subcommands that this package adds: ``adapter`` and ``tokenizer``."""
