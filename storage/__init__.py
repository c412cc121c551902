"""The store: tables, the fenced journal, migrations, plan files and the embedded server."""
