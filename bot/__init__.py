"""The rollback bot: reverts a production change by its documented rollback plan."""
