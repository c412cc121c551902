"""What reaches the bot: parse (pure), call the service, render (pure)."""
