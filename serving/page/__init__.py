"""The demo page at `/`, which shows recommendations of the service, and the routes that only this page uses."""
