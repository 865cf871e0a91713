"""Where machine and platform meet: media, reports, deprovisioning."""
