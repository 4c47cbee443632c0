"""A browser in plain words, from what it says of itself (RFC 9110 10.1.5): enough to tell one's own devices apart, no more."""

_BROWSERS = (
    ("edg", "Edge"), ("opr/", "Opera"), ("samsungbrowser", "Samsung Internet"), ("firefox", "Firefox"), ("fxios", "Firefox"),
    ("crios", "Chrome"), ("chrome", "Chrome"), ("safari", "Safari"),
)  # fmt: skip
_SYSTEMS = (
    ("iphone", "iPhone"), ("ipad", "iPad"), ("android", "Android"), ("windows", "Windows"), ("cros", "Chromebook"),
    ("mac os", "Mac"), ("linux", "Linux"),
)  # fmt: skip


def device(user_agent: str) -> str:
    """Such as "Firefox, Android"; empty when nothing is recognised. Only these words ever come out of it."""
    said = user_agent[:400].lower()
    found = [next((name for sign, name in names if sign in said), "") for names in (_BROWSERS, _SYSTEMS)]
    return ", ".join(one for one in found if one)
