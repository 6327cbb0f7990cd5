"""The deterministic runtime: workflow code against its history. Knows no store."""
