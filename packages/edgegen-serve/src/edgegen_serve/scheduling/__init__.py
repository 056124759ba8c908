"""Scheduling of requests for one model: queue, worker thread and engine."""
