"""What metering does with records and commands, each in the transaction that it is given."""
