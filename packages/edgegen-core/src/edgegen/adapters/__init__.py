"""LoRA adapters: read as peft saves them, merged into a checkpoint, or laid out as inputs of an exported file."""
