"""A message's life, in order, as a table of contents (docs/STORY.md tells it):

portal.smtp        a relay hands a mail over
portal.intake      it is checked, sealed, stored and queued for its notice
portal.notify      the recipient is told that something waits, and nothing else
portal.signin      a link names the message, a code proves the mailbox, a session begins
portal.reading     the view goes on record, then the message opens
portal.reply       the answer is sealed, and handed to the sender
portal.lifecycle   it expires, is revoked or given back, and is disposed of at the end
portal.audit       who saw what, for those who must prove it
"""
