"""The ``.litertlm`` bundle: its container, its export target and its adapters."""
