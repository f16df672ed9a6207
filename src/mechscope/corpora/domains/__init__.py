"""What tokens mean: one folder for each structured domain."""
