"""The daily run that makes forecasts, stores them, and publishes them."""
