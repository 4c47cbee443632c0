"""The sealed object's bytes: C2SP chunked-encryption (Cobblestone-256), specified in docs/ENVELOPE.md."""
