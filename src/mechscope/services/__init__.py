"""The one service layer: what every face calls."""
