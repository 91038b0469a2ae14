"""The contracts: every event and command, the envelope that carries them, and the topics they travel on."""
