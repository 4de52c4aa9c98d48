"""How it all runs: the command line, the local stack, the demo."""
