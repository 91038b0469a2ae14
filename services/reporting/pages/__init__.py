"""The Subscription page: presenters build a view of reads, templates render it, routes serve it."""
