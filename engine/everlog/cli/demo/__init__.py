"""The demo: a workflow that indexes the standard library while its process is killed. It uses the public API alone."""
