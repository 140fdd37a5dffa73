"""One refresh per expiry: a connection, its transaction, where its token lives, what a process remembers."""
