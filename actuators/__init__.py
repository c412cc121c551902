"""One module for each outside system that the bot reads or changes."""
