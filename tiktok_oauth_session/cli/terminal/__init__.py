"""What goes between the command and whoever runs it: words, questions, signals, streams."""
