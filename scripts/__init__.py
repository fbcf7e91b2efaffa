"""Commands of the project that ship nowhere."""
