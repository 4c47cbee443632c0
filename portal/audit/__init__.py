"""The record: lists and exports it."""
