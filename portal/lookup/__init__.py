"""What a relay may ask before it sends: by which TLS (`tlspolicy`) and which way (`route`). Answers come from the same verdicts as
the intake's own, so that relay and portal never disagree for long (answers.py). Postfix asks by socketmap (socketmap.py), others
by HTTP (http.py).
"""
