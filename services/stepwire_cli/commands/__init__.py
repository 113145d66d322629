"""The commands of `stepwire`, a module per group; what a command needs is imported when it runs."""
