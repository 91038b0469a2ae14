"""The Subscription page: presenters make a view of what the API shows, templates write it, routes serve it."""
