"""Who starts and watches the appliance's processes."""
