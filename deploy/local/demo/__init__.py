"""The demo's data: invented accounts and their usage, through the same doors as real ones; and live usage."""
