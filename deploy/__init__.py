"""Where both sides meet: the command `consilium`, simulation, local federations. No domain logic."""
