"""The staff console: its own cookie, templates and routes; on its own host and listener where the settings say so.

Every route names the verb it is for; portal/model/staff.py says who may. Pages are in English, as the staff's handbook is.
"""
