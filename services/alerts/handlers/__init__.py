"""What is done for one batch, one command, one delivery: load, decide, save, publish; in the transaction given."""
