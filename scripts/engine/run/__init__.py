"""Where stages run: processes of this machine or a cluster, and what they need of memory."""
