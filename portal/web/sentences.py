"""What routes say to recipients: errors beside a field, and the words of error pages.

Each says what happened and what to do next, never who is known here. `Pages.say(CODE_WRONG, lang, reference="QK7")`
gives it in the page's language; the names in %(...)s are the values it takes.
"""

from portal.web.languages import mark

REFERENCE_MISSING = mark("Type the reference from your notice.")
REFERENCE_WRONG = mark("We can't find a message with this reference. Check each letter against your notice.")

CODE_MISSING = mark("Type the code from the email.")
CODE_SHAPE = mark("The code has 8 digits. Check it against the email.")
CODE_WRONG = mark(
    "This code does not open the message. Check it against the email with the reference %(reference)s. "
    "A code works once, for 10 minutes, in the browser that asked for it."
)
TOO_MANY_TRIES = mark("There were too many wrong codes. Wait %(minutes)s minutes, then have another code sent.")
TOO_MANY_CODES = mark("Too many codes were sent. Wait %(minutes)s minutes, then ask again.")
SIGN_IN_CLOSED = mark(
    "Signing in with this link has been closed, because too many wrong codes were typed. Call the clinic."
)

NO_PDF = mark("This message can't be made into a PDF")
NO_PDF_SAY = mark(
    "It is too long, or has signs that can't be drawn here. Print it instead: your browser can save that as a PDF too."
)
PRINT = mark("Print")
SEARCH_EMPTY = mark("Type a word to look for.")
SEARCH_BUSY = mark("Another search is still running. Wait a few seconds, then search again.")
SEARCH_LONG = mark("Type fewer words: at most %(most)s letters.")

SUBJECT_MISSING = mark("Say what your message is about.")
REPLY_EMPTY = mark("Write your reply, or add a file.")
REPLY_TOO_LONG = mark("Your reply is too long. Shorten it, or attach it as a file.")
FILES_TOO_LARGE = mark("The files are too large: all together can have %(most)s. Leave one out, or send two replies.")
FILES_CHANGED = mark("The files changed while the reply was being sent. Look at them, then send it once more.")
REPLY_CHANGED = mark(
    "This reply was changed in another window too, and is kept as it is there. What you wrote here is now a reply of its own, "
    "without files. Look at both, then send one."
)
REPLY_NOT_FORMATTED = mark("This text can't be formatted. Send it without formatting.")
DRAFTS_TOO_MANY = mark(
    "There are too many unsent replies to this message, so this one is not saved and can't carry files. Send or throw away "
    "one of the others, or send this one now. Unsent replies are deleted after %(days)s days."
)
FILES_TOO_MANY = mark("A reply can carry %(most)s files. Leave some out, or send two replies.")
FILE_INFECTED = mark("A file was left out, because a virus scanner found something in it. Send the reply without it.")
FILE_UNSCANNED = mark(
    "A file was left out, because it could not be checked for viruses. Add it again in a few minutes."
)
FILES_UNSCANNED = mark(
    "Nothing was sent, because its files could not be checked for viruses. They are kept here, with what you wrote. Send it again in "
    "a few minutes, or remove the files."
)

TIMED_OUT = mark("You have been signed out")
TIMED_OUT_SAY = mark(
    "Nothing happened here for a while, so we closed your messages. To go on, follow the link in your notice again, "
    "or type its reference. You get a new code by email."
)
SIGN_IN_FIRST = mark("Sign in to see this")
SIGN_IN_FIRST_SAY = mark("Follow the link in your notice, or type its reference. You get a code by email.")
FORM_OLD = mark("This page was open too long")
FORM_OLD_SAY = mark("Nothing was sent. Go back, load the page again, and send it once more.")
NOT_ALLOWED = mark("This is not open to you")
NOT_ALLOWED_SAY = mark("This message asks for a safer way of signing in than the one you used.")
TOO_LARGE = mark("That was too much at once")
TOO_LARGE_SAY = mark("Nothing was sent. Go back and send less, or send it in two replies.")
TOO_OFTEN = mark("That was too often")
TOO_OFTEN_SAY = mark("Wait %(minutes)s minutes, then try again. Nothing is lost.")
AWAY = mark("The messages can't be opened right now")
AWAY_SAY = mark("This is our fault, and we are sorry. Nothing is lost. Try again in a few minutes.")
BROKEN = mark("Something went wrong on our side")
BROKEN_SAY = mark("We are sorry. Nothing is lost. Try again in a few minutes.")

TYPE_REFERENCE = mark("Type the reference")
GO_BACK = mark("Go back")
TRY_AGAIN = mark("Try again")
TO_MESSAGES = mark("Go to your messages")
TO_START = mark("Go to the first page")

APP_CODE_SHAPE = mark("The code of the app has 6 digits. Type the one it shows now.")
APP_CODE_WRONG = mark(
    "This code does not match. Wait for the next one that the app shows, and check your device's clock."
)
ACCESS_CODE_MISSING = mark("Type the access code that the sender gave you.")
ACCESS_CODE_WRONG = mark("This is not the access code of this message. Capital letters and spaces do not matter.")
RECOVERY_CODE_WRONG = mark("This is none of your unused recovery codes. Each works once.")
TEXT_CODE_WRONG = mark(
    "This code does not match. Check it against the newest one with the reference %(reference)s. "
    "A code works once, for 10 minutes, in the browser that asked for it."
)
TRIES_WAIT = mark("There were too many tries. Wait %(minutes)s minutes, then try again.")
TRIES_CLOSED = mark("There were too many tries, so this way in was closed. Use another way, or call the clinic.")
PASSKEY_REFUSED = mark("This passkey could not be checked. Try again, or use another way.")
PASSKEY_UNKNOWN = mark("This passkey is not known here any more. Use another way to sign in.")
PASSKEY_HERE = mark("This passkey is here already.")
PASSKEY_LAST = mark("This is your only passkey. Add another one first, then remove this one.")
PASSKEYS_MANY = mark("You have as many passkeys as one person can have. Remove one first.")
NAME_MISSING = mark("Give the passkey a name.")
APP_THERE = mark("You have an authenticator app already. Remove it first.")
WHO_MISSING = mark("Choose your name, or type it.")
ADDRESS_SHAPE = mark("This is no email address. Check it.")
ADDRESS_SAME = mark("This is your address already.")
ADDRESS_SENDER = mark("Messages can't go to an address of an organisation that sends from here.")
ADDRESS_TAKEN = mark("This address gets messages from here already, so the two can't be joined. Call the clinic.")
LETTERS_WRONG = mark("Type the three letters that stand beside the link in the email.")
ADDRESS_CODE_WRONG = mark("This code does not match. Check it against the newest email, or ask for another one.")
