"""The only floor that sees plaintext, keys and stored content together."""
