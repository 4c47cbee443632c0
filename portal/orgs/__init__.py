"""Organisations: their domains, relays and policies."""
