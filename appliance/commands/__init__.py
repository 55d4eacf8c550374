"""The commands that ask or tell a running appliance; `appliance.cli` puts them under `semi-pd`."""
