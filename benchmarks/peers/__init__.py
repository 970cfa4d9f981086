"""What a user would write by themselves, to compare with."""
