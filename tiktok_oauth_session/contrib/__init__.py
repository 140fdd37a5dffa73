"""The session in other people's frameworks: a module for each, and an extra of its name."""
