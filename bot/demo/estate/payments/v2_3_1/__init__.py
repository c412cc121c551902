"""payments v2.3.1, the release that works."""
