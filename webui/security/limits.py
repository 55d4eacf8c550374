"""How often one client may ask; counted in this process, which is the only one."""

from __future__ import annotations

from flask_limiter import Limiter
from flask_limiter.util import get_remote_address

TRY_A_PASSWORD = "30 per minute"
ASK_THE_API = "1200 per minute"
CHAT = "60 per minute"

limiter = Limiter(get_remote_address)
