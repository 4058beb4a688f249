"""The routes of the HTTP service, one router for each concern."""
