"""From the recipient back to the sender."""
