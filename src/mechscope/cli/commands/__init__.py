"""One file for each command or group. Services are imported when a command runs, so that help stays light."""
