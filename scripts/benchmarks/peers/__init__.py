"""Other quantisers and quantmake side by side, on one yardstick."""
