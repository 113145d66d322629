"""The table in which the steps of these tests leave their effects, migrated like that of any author."""
