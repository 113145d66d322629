"""The numbered behaviours of the engine, each shown by a workflow as a user would write it."""
