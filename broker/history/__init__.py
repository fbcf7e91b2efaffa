"""Orders, fills and account transactions in a database, written behind the journal."""
