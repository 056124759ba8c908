"""Text generation: sampling, stopping, structured output, speculative decoding."""
