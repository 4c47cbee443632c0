"""Says to people that something waits for them, without saying what."""
