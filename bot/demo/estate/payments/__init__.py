"""The payments service: an ordinary HTTP program of two releases, which the demo's estate installs and runs.

On the estate a release folder holds `bin/payments`, `lib/payments/kit` (what both releases share),
`lib/payments/service` (the release's own code) and `migrations/`. Nothing here knows of rollbacks.
"""
