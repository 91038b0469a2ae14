"""One async function per command or event: load, decide, save, tell. The transaction is the only source of time."""
