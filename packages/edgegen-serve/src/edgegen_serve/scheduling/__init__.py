"""One model, many requests: the queue and the worker."""
