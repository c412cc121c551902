"""One real rollback of a real service, on loopback."""
