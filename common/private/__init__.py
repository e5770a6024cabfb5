"""Private training: exact per-patient clipping of recurrent models at the price of plain training."""
