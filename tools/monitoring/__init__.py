"""Alert rules made from objectives, and reports of service levels and pages."""
