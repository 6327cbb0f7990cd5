"""Integrations: frameworks that people use already, made durable; each imports its framework by itself."""
