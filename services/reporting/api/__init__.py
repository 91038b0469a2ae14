"""The administrators' API, a file per resource: requests into commands, reads into answers."""
