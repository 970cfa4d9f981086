"""The page at `/`, for people who want to see what the service answers, and the calls that only it needs."""
