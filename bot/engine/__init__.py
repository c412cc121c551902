"""The imperative shell around the domain: it sees the world through `bot.domain.ports` only."""
