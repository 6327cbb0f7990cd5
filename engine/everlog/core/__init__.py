"""The pure core: events, values, failures, retry, state. No clock, no threads, no I/O."""
