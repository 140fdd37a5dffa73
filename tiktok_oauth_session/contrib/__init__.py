"""Integrations with frameworks, each with an extra of its own."""
