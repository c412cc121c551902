"""What the steps on AWS share: the way to its API, and whether the bot may change something."""
