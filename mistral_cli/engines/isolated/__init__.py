"""An engine in a child process, so that a crash of native code is an error and not our end."""
