"""How good the towers are, beside baselines, and whether that is enough to promote them."""
