"""How a message ends: expired, revoked, disposed; and how it comes back."""
