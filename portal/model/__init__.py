"""The rules, as pure functions and values.

Nothing here reads a clock, draws randomness or touches the outside: whoever calls passes `now`.
"""
