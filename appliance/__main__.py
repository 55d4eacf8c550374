"""`python -m appliance` is the command `semi-pd`."""

from appliance.cli import app

app(prog_name="semi-pd")
