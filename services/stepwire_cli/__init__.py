"""The `stepwire` command: starts the services, migrates the database, creates the topics."""
