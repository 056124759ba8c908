"""The ``.task`` bundle of MediaPipe: its layout, its bundler and its export target."""
