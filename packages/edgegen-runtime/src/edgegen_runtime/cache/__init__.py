"""Key/value caches at run time: buckets, prefill plans, saved prefixes."""
