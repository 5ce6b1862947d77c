"""How people hear of it: what a message says, how it is sent, when it is sent again."""
