"""What both processes need and neither owns."""
