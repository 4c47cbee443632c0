"""The browser edge: speaks HTTP, holds no rules. The only importer of starlette and jinja2."""
