"""What running workers tell this machine and the fleet."""
