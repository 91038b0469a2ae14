"""The administrators' API, a file per resource."""
