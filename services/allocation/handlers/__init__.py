"""One async function per command or event: load, decide, save, publish. Its transaction is the only source of time."""
