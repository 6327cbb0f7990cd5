"""The shell: what connects replay to stores, threads and users."""
