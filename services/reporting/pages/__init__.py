"""The Subscription page: presenters build views, templates render, routes serve."""
