"""payments v2.4.0: multi-currency, and the release that has to be rolled back."""
