"""The mail edge: speaks ESMTP to relays, holds no rules. `Intake` is what it calls; portal/intake/accept.py is that."""
