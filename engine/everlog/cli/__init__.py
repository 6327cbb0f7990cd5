"""The command line. It reads what the store holds by the same port as the engine, and has no mechanism of its own."""
