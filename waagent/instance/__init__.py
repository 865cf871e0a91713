"""What the platform says about this machine: its identity, its provisioning document, and the store of facts."""
