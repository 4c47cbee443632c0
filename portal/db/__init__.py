"""What is kept in rows. `Database` (engine.py) opens transactions; the modules beside it hold the statements.

The only importer of sqlalchemy and of the database drivers. What leaves this floor is frozen dataclasses.
"""
