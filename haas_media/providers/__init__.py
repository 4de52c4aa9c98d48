"""Where metadata comes from: what a provider tells, and TMDb."""
